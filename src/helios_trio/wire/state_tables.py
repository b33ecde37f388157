"""Which message may come when, as tables for both roles; `wire.states` walks them.

Rules:

1. Each role has its own states and its own table. A role's messages move its own state; a few messages of the
   server also move the client's (authentication is over, COPY begins, an error ends it).
2. The server answers requests in order. So its table has one part per kind of request, and requests that were
   sent ahead wait in a queue. What is in no table is not allowed.
3. NoticeResponse may come at any time; ParameterStatus and NotificationResponse once the client is
   authenticated.
4. An ErrorResponse is always allowed. It ends start-up; a Query, FunctionCall or Sync goes on with
   ReadyForQuery; after any other request the server skips what follows up to the next Sync.
5. During COPY IN the server ignores Sync and Flush. When COPY fails, a Sync sent meanwhile may have been read
   before the failure (ignored) or after it (answered): both are accepted.
6. COPY messages outside of COPY are ignored, because a client may still be sending when COPY fails.

Source: PostgreSQL docs, "Message Flow".
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from helios_trio.wire.codes import Backend, Frontend


class ClientState(Enum):
    """What a client may send next."""

    STARTUP = auto()
    AUTHENTICATION = auto()
    READY = auto()
    COPY_IN = auto()
    COPY_BOTH = auto()
    TERMINATED = auto()


class ServerState(Enum):
    """How far the server is with the request it answers."""

    STARTUP = auto()
    AUTHENTICATION = auto()
    SASL = auto()
    GSS = auto()
    PROVEN = auto()
    STARTING = auto()
    IDLE = auto()
    RESULT = auto()
    ROWS = auto()
    PARAMETERS_DESCRIBED = auto()
    COPY_IN = auto()
    COPY_OUT = auto()
    COPY_BOTH = auto()
    COPY_BOTH_ENDED = auto()
    COPY_ENDED = auto()
    ENDING = auto()
    """Only ReadyForQuery is left."""
    SKIPPING = auto()
    """An extended request failed: all is ignored up to the next Sync."""
    DONE = auto()
    """The request is answered; left at once for the next one."""
    TERMINATED = auto()


class Request(Enum):
    """What the server answers, and the copy messages that may stand between."""

    STARTUP = auto()
    QUERY = auto()
    FUNCTION_CALL = auto()
    PARSE = auto()
    BIND = auto()
    DESCRIBE_STATEMENT = auto()
    DESCRIBE_PORTAL = auto()
    EXECUTE = auto()
    CLOSE = auto()
    SYNC = auto()
    COPY_DATA = auto()
    COPY_END = auto()


class Authentication(Enum):
    """Sub-types of Authentication messages: the events of the server's table that are not just type bytes."""

    OK = 0
    KERBEROS_V5 = 2
    CLEARTEXT_PASSWORD = 3
    MD5_PASSWORD = 5
    GSS = 7
    GSS_CONTINUE = 8
    SSPI = 9
    SASL = 10
    SASL_CONTINUE = 11
    SASL_FINAL = 12


Event = int | Authentication
"""A type byte, or the sub-type of an Authentication message."""

_ANY_REQUEST = (
    Frontend.QUERY,
    Frontend.FUNCTION_CALL,
    Frontend.PARSE,
    Frontend.BIND,
    Frontend.DESCRIBE,
    Frontend.EXECUTE,
    Frontend.CLOSE,
    Frontend.FLUSH,
    Frontend.SYNC,
    Frontend.COPY_DATA,
    Frontend.COPY_DONE,
    Frontend.COPY_FAIL,
)

CLIENT: Final[Mapping[ClientState, Mapping[int, ClientState]]] = {
    ClientState.STARTUP: {},
    ClientState.AUTHENTICATION: {Frontend.PASSWORD: ClientState.AUTHENTICATION},
    ClientState.READY: {
        **dict.fromkeys(_ANY_REQUEST, ClientState.READY),
        Frontend.TERMINATE: ClientState.TERMINATED,
    },
    ClientState.COPY_IN: {
        Frontend.COPY_DATA: ClientState.COPY_IN,
        Frontend.FLUSH: ClientState.COPY_IN,
        Frontend.SYNC: ClientState.COPY_IN,
        Frontend.COPY_DONE: ClientState.READY,
        Frontend.COPY_FAIL: ClientState.READY,
    },
    ClientState.COPY_BOTH: {
        Frontend.COPY_DATA: ClientState.COPY_BOTH,
        Frontend.COPY_DONE: ClientState.READY,
        Frontend.TERMINATE: ClientState.TERMINATED,
    },
    ClientState.TERMINATED: {},
}

_COPY_STARTS: Final[Mapping[Event, ServerState]] = {
    Backend.COPY_IN_RESPONSE: ServerState.COPY_IN,
    Backend.COPY_OUT_RESPONSE: ServerState.COPY_OUT,
    Backend.COPY_BOTH_RESPONSE: ServerState.COPY_BOTH,
}
_COPY: Final[Mapping[ServerState, Mapping[Event, ServerState]]] = {
    ServerState.COPY_OUT: {
        Backend.COPY_DATA: ServerState.COPY_OUT,
        Backend.COPY_DONE: ServerState.COPY_ENDED,
    },
    ServerState.COPY_BOTH: {
        Backend.COPY_DATA: ServerState.COPY_BOTH,
        Backend.COPY_DONE: ServerState.COPY_BOTH_ENDED,
    },
    # A walsender may send a keepalive after its CopyDone; at the end of a timeline it goes on with a row set
    # (docs, "Streaming Replication Protocol").
    ServerState.COPY_BOTH_ENDED: {
        Backend.COPY_DATA: ServerState.COPY_BOTH_ENDED,
        Backend.ROW_DESCRIPTION: ServerState.ROWS,
        Backend.COMMAND_COMPLETE: ServerState.RESULT,
    },
}
_ENDING: Final[Mapping[Event, ServerState]] = {Backend.READY_FOR_QUERY: ServerState.DONE}

SERVER: Final[Mapping[Request, Mapping[ServerState, Mapping[Event, ServerState]]]] = {
    Request.STARTUP: {
        ServerState.AUTHENTICATION: {
            Backend.NEGOTIATE_PROTOCOL_VERSION: ServerState.AUTHENTICATION,
            Authentication.KERBEROS_V5: ServerState.PROVEN,
            Authentication.CLEARTEXT_PASSWORD: ServerState.PROVEN,
            Authentication.MD5_PASSWORD: ServerState.PROVEN,
            Authentication.GSS: ServerState.GSS,
            Authentication.SSPI: ServerState.GSS,
            Authentication.SASL: ServerState.SASL,
            Authentication.OK: ServerState.STARTING,
        },
        ServerState.SASL: {
            Authentication.SASL_CONTINUE: ServerState.SASL,
            Authentication.SASL_FINAL: ServerState.PROVEN,
        },
        ServerState.GSS: {
            Authentication.GSS_CONTINUE: ServerState.GSS,
            Authentication.OK: ServerState.STARTING,
        },
        ServerState.PROVEN: {Authentication.OK: ServerState.STARTING},
        ServerState.STARTING: {
            Backend.BACKEND_KEY_DATA: ServerState.STARTING,
            Backend.READY_FOR_QUERY: ServerState.DONE,
        },
    },
    Request.QUERY: {
        ServerState.RESULT: {
            Backend.ROW_DESCRIPTION: ServerState.ROWS,
            Backend.COMMAND_COMPLETE: ServerState.RESULT,
            Backend.EMPTY_QUERY_RESPONSE: ServerState.RESULT,
            **_COPY_STARTS,
            Backend.READY_FOR_QUERY: ServerState.DONE,
        },
        ServerState.ROWS: {
            Backend.DATA_ROW: ServerState.ROWS,
            Backend.COMMAND_COMPLETE: ServerState.RESULT,
        },
        **_COPY,
        ServerState.COPY_ENDED: {Backend.COMMAND_COMPLETE: ServerState.RESULT},
        ServerState.ENDING: _ENDING,
    },
    Request.FUNCTION_CALL: {
        ServerState.RESULT: {Backend.FUNCTION_CALL_RESPONSE: ServerState.ENDING},
        ServerState.ENDING: _ENDING,
    },
    Request.PARSE: {ServerState.RESULT: {Backend.PARSE_COMPLETE: ServerState.DONE}},
    Request.BIND: {ServerState.RESULT: {Backend.BIND_COMPLETE: ServerState.DONE}},
    Request.DESCRIBE_STATEMENT: {
        ServerState.RESULT: {Backend.PARAMETER_DESCRIPTION: ServerState.PARAMETERS_DESCRIBED},
        ServerState.PARAMETERS_DESCRIBED: {
            Backend.ROW_DESCRIPTION: ServerState.DONE,
            Backend.NO_DATA: ServerState.DONE,
        },
    },
    Request.DESCRIBE_PORTAL: {
        ServerState.RESULT: {
            Backend.ROW_DESCRIPTION: ServerState.DONE,
            Backend.NO_DATA: ServerState.DONE,
        },
    },
    Request.EXECUTE: {
        ServerState.RESULT: {
            Backend.DATA_ROW: ServerState.RESULT,
            Backend.COMMAND_COMPLETE: ServerState.DONE,
            Backend.EMPTY_QUERY_RESPONSE: ServerState.DONE,
            Backend.PORTAL_SUSPENDED: ServerState.DONE,
            **_COPY_STARTS,
        },
        **_COPY,
        ServerState.COPY_ENDED: {Backend.COMMAND_COMPLETE: ServerState.DONE},
    },
    Request.CLOSE: {ServerState.RESULT: {Backend.CLOSE_COMPLETE: ServerState.DONE}},
    Request.SYNC: {ServerState.RESULT: _ENDING, ServerState.ENDING: _ENDING},
}

AFTER_ERROR: Final[Mapping[Request, ServerState]] = {
    Request.STARTUP: ServerState.TERMINATED,
    Request.QUERY: ServerState.ENDING,
    Request.FUNCTION_CALL: ServerState.ENDING,
    Request.SYNC: ServerState.ENDING,
}
"""What follows an error (rule 4); for all others `SKIPPING`."""

UNAUTHENTICATED: Final = frozenset(
    {
        ServerState.STARTUP,
        ServerState.AUTHENTICATION,
        ServerState.SASL,
        ServerState.GSS,
        ServerState.PROVEN,
    }
)
ANY_TIME: Final = frozenset({Backend.PARAMETER_STATUS, Backend.NOTIFICATION_RESPONSE})
"""Reports that may come at any time once the client is authenticated (rule 3)."""
REQUESTS: Final[Mapping[int, Request]] = {
    Frontend.QUERY: Request.QUERY,
    Frontend.FUNCTION_CALL: Request.FUNCTION_CALL,
    Frontend.PARSE: Request.PARSE,
    Frontend.BIND: Request.BIND,
    Frontend.EXECUTE: Request.EXECUTE,
    Frontend.CLOSE: Request.CLOSE,
    Frontend.SYNC: Request.SYNC,
    Frontend.COPY_DATA: Request.COPY_DATA,
    Frontend.COPY_DONE: Request.COPY_END,
    Frontend.COPY_FAIL: Request.COPY_END,
}
COPY_MESSAGES: Final = frozenset({Request.COPY_DATA, Request.COPY_END})
