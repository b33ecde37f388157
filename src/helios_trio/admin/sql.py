"""Statements by the API: run through the proxy's own routing, as the database user of the key.

Used by: admin.api.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from http import HTTPStatus
from typing import Annotated, Final

import trio
from attrs import define, frozen

from helios_trio.admin.access import Caller
from helios_trio.admin.parts import Parts
from helios_trio.admin.problems import Refused
from helios_trio.admin.routing import Call, Route, changes
from helios_trio.admin.sql_client import Column, Result, SqlClient
from helios_trio.config.keys import REQUIRED, key
from helios_trio.config.kinds import Name, Seconds, Text
from helios_trio.config.words import AuthMethod
from helios_trio.migration.errors import Fault, InvalidOrder, NotAvailable
from helios_trio.net.frame_stream import FrameStream
from helios_trio.proxy.authentication import Authenticated
from helios_trio.wire.backend_messages import AuthenticationOk
from helios_trio.wire.startup import StartupMessage

#: Statements of the API that run at a time.
_AT_A_TIME: Final = 8
#: Characters of a statement that stand in the event.
_SHOWN: Final = 200
_LONGEST: Final = 600.0
_ROUTE: Final = "SET helios.route = '{}'"


@frozen(kw_only=True)
class SqlBody:
    """A statement, or several."""

    sql: Annotated[str, Text()] = key(REQUIRED, "what to run, as a simple query", example="select 1")
    database: Name | None = key(None, "where; absent: the database of the proxy's control user")
    route: Name | None = key(None, "where to: primary, standby, replica, nearest or the name of a backend")
    time_limit: Seconds = key(30.0, "how long it may take; then it is cancelled")


@frozen(kw_only=True)
class SqlView:
    """What it gave: of several statements, the rows of the last that has any."""

    columns: tuple[Column, ...]
    #: values as PostgreSQL writes them; null is NULL
    rows: tuple[tuple[str | None, ...], ...]
    tag: str
    notices: tuple[str, ...]
    #: rows are missing, as there were more than 1,000, or more than 1 MiB
    truncated: bool
    #: name of the backend that has served it; empty: none that is known
    routed_to: str
    duration_ms: float


def routes(parts: Parts) -> Iterator[Route]:
    """Statements."""
    api = _Api(parts, trio.CapacityLimiter(_AT_A_TIME))
    yield changes("/api/v1/sql", "Run a statement through the proxy", SqlView, api.run, body=SqlBody)


@define
class _Api:
    parts: Parts
    limiter: trio.CapacityLimiter

    async def run(self, call: Call) -> SqlView:
        """Raises Refused, OrderRefused, HeliosError."""
        body: SqlBody = call.body
        database = body.database or self.parts.running.config.control.database
        client = self._client(call.caller, database)
        before = () if body.route is None else (self._route(body.route),)
        self.parts.events.note("statement run", database, who=call.who, reason=_shortened(body.sql))
        async with self.limiter:
            began = trio.current_time()
            with trio.move_on_after(min(body.time_limit, _LONGEST)) as waiting:
                *_, result = await client.run(*before, body.sql)
        if waiting.cancelled_caught:
            raise Refused(HTTPStatus.GATEWAY_TIMEOUT, "the statement took longer than its time limit")
        return _view(result, trio.current_time() - began)

    def _client(self, caller: Caller, database: str) -> SqlClient:
        """Raises Refused: the key is nobody in databases. Raises InvalidOrder for the console's own name."""
        if not caller.database_user:
            raise Refused(
                HTTPStatus.FORBIDDEN,
                f"the key {caller.name} has no database user; `helios admin create-key --database-user` gives it one",
            )
        proxy = self.parts.proxy
        if proxy.console_of(database) is not None:
            raise InvalidOrder([Fault("database", f'"{database}" is the console of the proxy itself')])
        serve = partial(proxy.serve_client, trust=self._trust)
        return SqlClient(serve, caller.database_user, database, self.parts.cancels)

    def _route(self, route: str) -> str:
        """Raises NotAvailable, InvalidOrder."""
        if self.parts.router is None:
            raise NotAvailable([Fault("route", "requests are not routed: routing.enabled is false")])
        if "'" in route or "\\" in route:
            raise InvalidOrder([Fault("route", "expected a word, or the name of a backend")])
        return _ROUTE.format(route)

    async def _trust(self, stream: FrameStream, startup: StartupMessage) -> Authenticated:
        """The key has been proved; the server is logged in to with what the proxy knows of that user."""
        credentials = await self.parts.credentials_of(startup.user, startup.database)
        return Authenticated(startup.user, AuthMethod.TRUST, credentials, AuthenticationOk().encode())


def _view(found: Result, seconds: float) -> SqlView:
    return SqlView(
        columns=found.columns,
        rows=tuple(found.rows),
        tag=found.tag,
        notices=tuple(found.notices),
        truncated=found.truncated,
        routed_to=found.served_by,
        duration_ms=round(1000 * seconds, 3),
    )


def _shortened(text: str) -> str:
    """Literals of what an operator runs are part of who did what."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
