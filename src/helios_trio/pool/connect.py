"""Opening an authenticated connection to a server, up to its first ReadyForQuery, and cancelling requests.

The only place that speaks the start-up conversation towards servers: encryption by libpq's sslmode words,
authentication (`pool.server_auth`), then the server's parameters and key. The pool calls
`open_server_connection` and gives what it returns to the relay; cancel requests of clients end in
`send_cancel`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import trio
from attrs import Factory, define, field, frozen

from helios_trio.config.words import SslMode
from helios_trio.errors import BackendUnavailable, HeliosError, ProtocolViolation, ServerRefused
from helios_trio.net.dial import ServerAddress, dial
from helios_trio.net.errors import ConnectFailed, ConnectionLost, TLSFailed
from helios_trio.net.frame_stream import FrameStream
from helios_trio.net.tls import ServerTLS
from helios_trio.net.tls_transport import start_tls_client
from helios_trio.net.transport import Keepalive, Transport
from helios_trio.pool.server_auth import Credentials, ServerAuthentication
from helios_trio.wire.backend_messages import (
    BackendKeyData,
    NegotiateProtocolVersion,
    ParameterStatus,
    ReadyForQuery,
)
from helios_trio.wire.codes import PROTOCOL_3_0, Backend
from helios_trio.wire.error_fields import ErrorFields
from helios_trio.wire.frames import BACKEND, Frame, FrameReader, encode_frame
from helios_trio.wire.layout import to_bytes
from helios_trio.wire.startup import CancelRequest, SSLRequest, StartupMessage

MAX_REPLY: Final = 1 << 20
"""Largest message a server may send before ReadyForQuery, in bytes; real ones have some hundred."""
MAX_REPLIES: Final = 1000
"""Messages a server may send before ReadyForQuery; real ones send some twenty."""

_WRONG_PASSWORD: Final = "28P01"
_AUTHORISATION_CLASS: Final = "28"


@define
class ServerGreeting:
    """A server connection that waits for its first request, and what the server said while it was opened."""

    transport: Transport
    protocol: int
    """The version spoken: what was asked for, or the older one the server wants."""
    pid: int = 0
    secret: bytes = field(default=b"", repr=False)
    parameters: dict[str, str] = Factory(dict)
    """What ParameterStatus messages said, in the order they came."""
    parameter_frames: list[bytes] = Factory(list)
    """The same as whole frames."""
    notices: list[bytes] = Factory(list)
    """NoticeResponse messages as whole frames."""
    status: int = 0
    """The byte of ReadyForQuery (`wire.codes.Status`)."""
    rest: bytes = b""
    """Bytes that came after ReadyForQuery."""


@frozen
class _Route:
    """How to reach a server, and until when (Trio's clock)."""

    target: ServerAddress
    tls: ServerTLS
    deadline: float
    keepalive: Keepalive | None = None

    @property
    def encryption(self) -> tuple[bool, ...]:
        """Whether to encrypt, in the order to try; as in libpq unix sockets never are."""
        if self.target.is_unix:
            return (False,)
        match self.tls.mode:
            case SslMode.DISABLE:
                return (False,)
            case SslMode.ALLOW:
                return (False, True)
            case SslMode.PREFER:
                return (True, False)
            case _:
                return (True,)


async def open_server_connection(
    target: ServerAddress,
    startup_parameters: Mapping[str, str],
    credentials: Credentials,
    tls: ServerTLS,
    *,
    protocol_version: int = PROTOCOL_3_0,
    time_limit: float,
    keepalive: Keepalive | None = None,
) -> ServerGreeting:
    """Connect and log in, within `time_limit` seconds for all of it.

    `startup_parameters` is the whole packet: `user`, and what else it shall carry. Raises `ServerRefused`
    with the server's own report, `ServerLoginFailed` if the credentials do not do for what the server asks,
    and `BackendUnavailable` with the reason for everything else.
    """
    pairs = tuple((to_bytes(name), to_bytes(value)) for name, value in startup_parameters.items())
    startup = StartupMessage(protocol_version, pairs)
    route = _Route(target, tls, trio.current_time() + time_limit, keepalive)
    refusals: list[ServerRefused | TLSFailed] = []
    with _unavailable(target):
        for encrypted in route.encryption:
            try:
                transport = await _connect(route, encrypted=encrypted)
                return await _start_session(route, transport, startup, credentials)
            except TLSFailed as error:
                refusals.append(error)
            except ServerRefused as error:
                refusals.append(error)
                if _is_final(error, transport, encrypted=encrypted):
                    break
        raise max(refusals, key=_tells)


async def send_cancel(
    target: ServerAddress, pid: int, secret: bytes, tls: ServerTLS, *, time_limit: float
) -> None:
    """Ask the server to stop what `pid` is doing; returns when the server has closed the connection.

    Only then has the request had all its effect, and the cancelled connection may serve somebody else
    (correctness rule 4). Raises `BackendUnavailable` if that does not happen within `time_limit` seconds.
    """
    route = _Route(target, tls, trio.current_time() + time_limit)
    *others, last = route.encryption[:1] if tls.mode is SslMode.ALLOW else route.encryption
    with _unavailable(target):
        for encrypted in others:
            try:
                return await _cancel(route, CancelRequest(pid, secret), encrypted=encrypted)
            except TLSFailed:
                continue
        return await _cancel(route, CancelRequest(pid, secret), encrypted=last)


def _is_final(error: ServerRefused, transport: Transport, *, encrypted: bool) -> bool:
    """Whether the other kind of encryption is not worth a try.

    pg_hba.conf may tell the two apart, so a refused authorisation is. libpq tries again after any refusal,
    but a database that does not exist, or is starting up, stays so. A server without TLS has seen us in
    plain.
    """
    return not error.sqlstate.startswith(_AUTHORISATION_CLASS) or (encrypted and transport.tls is None)


def _tells(error: ServerRefused | TLSFailed) -> int:
    """How much of two refusals each tells: a wrong password, then any report of the server's, then TLS."""
    return 0 if isinstance(error, TLSFailed) else 2 if error.sqlstate == _WRONG_PASSWORD else 1


@contextmanager
def _unavailable(target: ServerAddress) -> Iterator[None]:
    """Everything but a refusal by the server itself means that there is no such backend for now."""
    try:
        yield
    except (ServerRefused, BackendUnavailable):
        raise
    except ConnectFailed as error:
        raise BackendUnavailable(error.message) from error
    except HeliosError as error:
        raise BackendUnavailable(f"server {target}: {error.message}", detail=error.detail) from error
    except trio.TooSlowError:
        raise BackendUnavailable(f"server {target}: timeout expired") from None


async def _start_session(
    route: _Route, transport: Transport, startup: StartupMessage, credentials: Credentials
) -> ServerGreeting:
    stream = FrameStream(transport, FrameReader(MAX_REPLY, MAX_REPLY, BACKEND))
    authentication = ServerAuthentication(
        credentials, binding=transport.server_end_point(), channel_binding=route.tls.channel_binding
    )
    try:
        with trio.fail_at(route.deadline):
            return await _log_in(stream, startup, authentication)
    except BaseException:
        transport.close()
        raise


async def _connect(route: _Route, *, encrypted: bool) -> Transport:
    """A connection on which the start-up packet may be sent."""
    plain = await dial(route.target, deadline=route.deadline, keepalive=route.keepalive)
    context = route.tls.context
    if not encrypted or context is None:
        return plain
    try:
        with trio.fail_at(route.deadline):
            await plain.send_all(SSLRequest().encode())
            # Exactly one byte: what follows it unencrypted must not be taken for encrypted (CVE-2021-23222).
            answer = await plain.receive_some(1)
            if answer == b"S":
                return await start_tls_client(plain, context, route.target.host)
            if answer != b"N":
                raise TLSFailed("the server answered the request for TLS with neither S nor N")
            if route.tls.mode is not SslMode.PREFER:
                raise TLSFailed("server does not support SSL, but SSL was required")
            return plain
    except BaseException:
        plain.close()
        raise


async def _log_in(
    stream: FrameStream, startup: StartupMessage, authentication: ServerAuthentication
) -> ServerGreeting:
    await stream.send(startup.encode())
    greeting = ServerGreeting(stream.transport, startup.version)
    for _ in range(MAX_REPLIES):
        frame = await stream.read_frame()
        if frame.code == Backend.AUTHENTICATION:
            answer = await authentication.answer(frame.body)
            if answer is not None:
                await stream.send(answer.encode())
        elif frame.code == Backend.READY_FOR_QUERY and authentication.finished:
            greeting.status = ReadyForQuery.decode(frame.body).status
            greeting.rest = stream.take_rest()
            return greeting
        else:
            _note(frame, greeting)
    raise ProtocolViolation(f"the server sent {MAX_REPLIES} messages without becoming ready")


def _note(frame: Frame, greeting: ServerGreeting) -> None:
    """Keep what a message says that needs no answer. Raises `ServerRefused` for an ErrorResponse."""
    match frame.code:
        case Backend.PARAMETER_STATUS:
            found = ParameterStatus.decode(frame.body)
            greeting.parameters[found.name] = found.value
            greeting.parameter_frames.append(encode_frame(frame.code, frame.body))
        case Backend.BACKEND_KEY_DATA:
            key = BackendKeyData.decode(frame.body)
            greeting.pid, greeting.secret = key.pid, key.secret
        case Backend.NOTICE_RESPONSE:
            greeting.notices.append(encode_frame(frame.code, frame.body))
        case Backend.NEGOTIATE_PROTOCOL_VERSION:
            greeting.protocol = NegotiateProtocolVersion.decode(frame.body).version
        case Backend.ERROR_RESPONSE:
            fields = ErrorFields.decode(frame.body)
            raise ServerRefused(fields.message, report=frame.body, sqlstate=fields.sqlstate)
        case code:
            raise ProtocolViolation(f"the server sent a message of type {chr(code)!r} before it was ready")


async def _cancel(route: _Route, request: CancelRequest, *, encrypted: bool) -> None:
    transport = await _connect(route, encrypted=encrypted)
    try:
        with trio.fail_at(route.deadline):
            await transport.send_all(request.encode())
            while await _more_comes(transport):
                pass
    finally:
        transport.close()


async def _more_comes(transport: Transport) -> bool:
    """False once the server has closed, by a reset too: it does not read what it does not wait for."""
    try:
        return bool(await transport.receive_some(1024))
    except ConnectionLost:
        return False
