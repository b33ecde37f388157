"""One tree of errors; each class carries the SQLSTATE, severity and hint a client would see.

Whoever raises knows what happened; whoever stands at the edge (client socket, admin API, command line) turns the
error into its own form with `fields()`. SQLSTATEs are those of PostgreSQL's appendix A.
"""

from __future__ import annotations

from typing import ClassVar


class HeliosError(Exception):
    """Base of all errors of this project.

    `sqlstate` and `severity` have class defaults; an instance may override them, for instance when a
    server's own report is passed on.
    """

    sqlstate: str = "XX000"
    severity: str = "ERROR"
    hint: str | None = None
    detail: str | None = None
    code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        sqlstate: str | None = None,
        severity: str | None = None,
        hint: str | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        if sqlstate is not None:
            self.sqlstate = sqlstate
        if severity is not None:
            self.severity = severity
        if hint is not None:
            self.hint = hint
        if detail is not None:
            self.detail = detail

    def fields(self) -> dict[str, str]:
        """The error as fields of an ErrorResponse (PostgreSQL docs: "Error and Notice Message Fields")."""
        found = {"S": self.severity, "V": self.severity, "C": self.sqlstate, "M": self.message}
        if self.detail:
            found["D"] = self.detail
        if self.hint:
            found["H"] = self.hint
        return found


class ConfigError(HeliosError):
    """The configuration cannot be used; the message names file, path, value and what was expected."""

    sqlstate = "F0000"
    code = "config_error"


class ProtocolViolation(HeliosError):
    """The peer sent something that the PostgreSQL protocol does not allow (correctness rule 5)."""

    sqlstate = "08P01"
    severity = "FATAL"
    code = "protocol_violation"


class AuthenticationFailed(HeliosError):
    """The client could not prove who it is. The message is the same for unknown users and wrong passwords."""

    sqlstate = "28P01"
    severity = "FATAL"
    code = "authentication_failed"


class NotAuthorised(HeliosError):
    """No rule lets this client in (what pg_hba.conf would refuse)."""

    sqlstate = "28000"
    severity = "FATAL"
    code = "not_authorised"


class TooManyConnections(HeliosError):
    """A limit on connections is reached."""

    sqlstate = "53300"
    severity = "FATAL"
    code = "too_many_connections"


class BackendUnavailable(HeliosError):
    """No server connection could be had in time; the message carries the last reason."""

    sqlstate = "08006"
    severity = "FATAL"
    code = "backend_unavailable"


class BackendCutOff(BackendUnavailable):
    """The server has been given up, as dead or as succeeded by another; whoever waits may find that one."""

    sqlstate = "57P03"
    code = "backend_cut_off"
    hint = "Retry later."


class BackendLost(HeliosError):
    """The server connection a session was using is gone."""

    sqlstate = "08006"
    severity = "FATAL"
    code = "backend_lost"


class ServerRefused(HeliosError):
    """The server answered a start-up with an ErrorResponse; `report` is its body, passed on untouched."""

    severity = "FATAL"
    code = "server_refused"

    def __init__(self, message: str, *, report: bytes, sqlstate: str) -> None:
        super().__init__(message, sqlstate=sqlstate)
        self.report = report


class ShuttingDown(HeliosError):
    """The proxy is going down and the drain deadline has passed."""

    sqlstate = "57P01"
    severity = "FATAL"
    code = "shutting_down"


class TimedOut(HeliosError):
    """A time limit of the configuration was reached (idle, idle in transaction, query, login, queue)."""

    sqlstate = "57P05"
    severity = "FATAL"
    code = "timed_out"


class FeatureNotSupported(HeliosError):
    """Something PostgreSQL knows and this configuration of the proxy refuses, by name."""

    sqlstate = "0A000"
    code = "feature_not_supported"


class StatementFailed(HeliosError):
    """A statement of an operator has failed; what it carries is what the server said."""

    code = "statement_failed"
