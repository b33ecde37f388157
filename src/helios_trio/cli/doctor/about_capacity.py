"""What is to be said of numbers: connections that servers have against those of the pools, descriptors, backlog. Pure.

Used by: cli.doctor.examination.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from attrs import frozen

from helios_trio.cli.doctor.facts import ServerFacts
from helios_trio.cli.doctor.findings import Finding, ok, warning, wrong
from helios_trio.config import Config

#: Connections of the proxy's own to one server: probe, failover, listeners, look-ups.
OWN_CONNECTIONS: Final = 5
#: Descriptors besides connections: listeners, the admin interface, files.
OWN_DESCRIPTORS: Final = 100


@frozen(kw_only=True)
class MachineFacts:
    """What this machine lets a process have; None is unknown."""

    #: RLIMIT_NOFILE (soft), of this process or of the running proxy
    descriptors: int
    #: the figures are those of the proxy that runs
    of_proxy: bool = False
    somaxconn: int | None = None


def about_connections(config: Config, servers: Sequence[ServerFacts]) -> Iterator[Finding]:
    """What each server has room for. Names of one server share its room."""
    groups: dict[tuple[str, str], list[ServerFacts]] = {}
    for each in servers:
        groups.setdefault((each.system_identifier or each.name, each.started_at), []).append(each)
    for names in groups.values():
        yield from _about_room(config, names)


def _about_room(config: Config, names: Sequence[ServerFacts]) -> Iterator[Finding]:
    server, about = names[0], ", ".join(each.name for each in names)
    room = room_of(server)
    if room is None:
        return
    backends = [each for each in config.backends.pools if each.name in {each.name for each in names}]
    kept = sum(each.min_connections for each in backends)
    if kept + OWN_CONNECTIONS > room:
        what = f"min_connections are {kept}, and the server has room for {room}"
        yield wrong(
            "connections", about, what, "lower backends.pools.min_connections, or raise max_connections there"
        )
    limits = [each.max_connections for each in backends]
    if None in limits:
        yield _about_unlimited(config, about, room)
    else:
        yield _about_limits(about, room, sum(each or 0 for each in limits))


def room_of(server: ServerFacts) -> int | None:
    """Connections that a server has for users who are not special; None if it has not said."""
    most = server.number("max_connections")
    if most is None:
        return None
    reserved = ("superuser_reserved_connections", "reserved_connections")
    return most - sum(server.number(each) or 0 for each in reserved)


def _about_limits(about: str, room: int, wanted: int) -> Finding:
    what = f"up to {wanted} connections, and {OWN_CONNECTIONS} of the proxy's own; the server has room for {room}"
    if wanted + OWN_CONNECTIONS <= room:
        return ok("connections", about, what)
    most = max(1, room - OWN_CONNECTIONS)
    remedy = f"lower backends.pools.max_connections to {most} in all, or raise max_connections there"
    return warning("connections", about, what, remedy)


def _about_unlimited(config: Config, about: str, room: int) -> Finding:
    largest = largest_pool(config)
    what = f"one pool may have {largest} connections; the server has room for {room}"
    if largest + OWN_CONNECTIONS <= room:
        pools = (room - OWN_CONNECTIONS) // largest
        return ok("connections", about, f"{what}, that is for {pools} full pools")
    remedy = f"set backends.pools.max_connections to {max(1, room - OWN_CONNECTIONS)}, or raise max_connections there"
    return warning("connections", about, what, remedy)


def largest_pool(config: Config) -> int:
    """Connections that one pool may have, by whatever rule."""
    rules = [each.max_connections for each in config.pool.rules if each.max_connections is not None]
    return max([config.pool.max_connections, *rules])


def about_descriptors(config: Config, machine: MachineFacts) -> Finding:
    """Open files of one process against clients and server connections."""
    clients = config.proxy.max_client_connections
    servers = sum(each.max_connections or largest_pool(config) for each in config.backends.pools)
    needed = clients + servers + OWN_DESCRIPTORS
    whose = "the running proxy" if machine.of_proxy else "a process started from here"
    what = f"{whose} may have {machine.descriptors} open files; {clients} clients and {servers} server connections"
    if machine.descriptors >= needed:
        return ok("descriptors", "", f"{what} need up to {needed}")
    remedy = (
        f"LimitNOFILE={needed} in the unit, or `ulimit -n {needed}`; or lower proxy.max_client_connections"
    )
    return (wrong if machine.of_proxy else warning)("descriptors", "", f"{what} need up to {needed}", remedy)


def about_backlog(config: Config, machine: MachineFacts) -> Iterator[Finding]:
    """The kernel cuts the queue of a listener down to a limit of its own."""
    wanted = config.proxy.listen_backlog
    if machine.somaxconn is not None and machine.somaxconn < wanted:
        what = f"proxy.listen_backlog is {wanted}, and the kernel allows {machine.somaxconn}"
        yield warning("backlog", "", what, f"sysctl net.core.somaxconn={wanted}")
