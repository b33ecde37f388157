"""Asks one backend how it is, now: the figures that `required_checks` of the configuration are about.

Used by: migration.migration (before and between phases), admin (`/api/v1/backends/{name}/health`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import psycopg
import trio
from attrs import define, field, frozen

from helios_trio.cluster.observation import PROBE, Observation
from helios_trio.cluster.topology import Topology
from helios_trio.config.health import HealthChecks
from helios_trio.control import ControlConnection
from helios_trio.errors import HeliosError
from helios_trio.migration.checks import CheckResult, complaints, evaluate
from helios_trio.pipeline.backend import Backend


@frozen(kw_only=True)
class Examination:
    """What a backend was like at a moment."""

    backend: str
    results: tuple[CheckResult, ...]
    #: by the names in `config.conditions`; absent: could not be measured
    measured: dict[str, float | bool]
    #: why nothing more could be measured; empty when all was
    reason: str

    @property
    def complaints(self) -> tuple[str, ...]:
        """Why it may not take over sessions; empty when it may."""
        return complaints(self.results)


@define
class Examiner:
    """Examines backends through control connections of its own."""

    topology: Topology
    connect: Callable[[Backend], Awaitable[ControlConnection]]
    settings: HealthChecks = field(factory=HealthChecks)
    #: seconds that all questions to one backend may take together
    time_limit: float = 10.0

    async def examine(self, name: str) -> Examination:
        """Measure what can be measured, and judge it. Raises KeyError for a name that is no backend's."""
        backend = self.topology.nodes[name].backend
        measured: dict[str, float | bool] = {"connection_success": False, "query_test_success": False}
        reason = ""
        try:
            with trio.fail_after(self.time_limit):
                await self._measure(backend, measured)
        except trio.TooSlowError:
            reason = f"no answer within {self.time_limit:g} s"
        except (psycopg.Error, HeliosError, OSError) as error:
            reason = str(error).partition("\n")[0]
        results = evaluate(self.settings.required_checks, measured)
        return Examination(backend=name, results=results, measured=measured, reason=reason)

    async def _measure(self, backend: Backend, measured: dict[str, float | bool]) -> None:
        began = trio.current_time()
        async with await self.connect(backend) as connection:
            measured["connection_success"] = True
            measured["connect_latency_ms"] = (trio.current_time() - began) * 1000
            began = trio.current_time()
            await connection.execute(self.settings.check_query.encode())
            measured["query_test_success"] = True
            measured["test_query_latency_ms"] = (trio.current_time() - began) * 1000
            await self._measure_lag(connection, measured)

    async def _measure_lag(self, connection: ControlConnection, measured: dict[str, float | bool]) -> None:
        asked_at = trio.current_time()
        row = await (await connection.execute(PROBE)).fetchone()
        assert row is not None, "a SELECT without a table has one row"
        seen = Observation.from_row(row)
        if not seen.in_recovery:
            measured["replication_lag_ms"] = measured["replication_lag_bytes"] = 0.0
            return
        lag = self.topology.lag_of(seen, asked_at)
        if lag is not None:
            measured["replication_lag_ms"] = lag * 1000
        writer = self.topology.writer
        if writer is not None and writer.observed is not None and seen.replayed is not None:
            position = writer.observed.position
            if position is not None and writer.system_identifier == seen.system_identifier:
                measured["replication_lag_bytes"] = float(max(0, position - seen.replayed))
