"""What `helios status` says: a summary of the API's answers, what is wrong in it, and its picture. Pure.

Used by: cli.status, cli.top.picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from helios_trio.cli.words import duration, milliseconds, moment, number, printable, size

Answers = Mapping[str, Any]

#: States of a migration in which it is not over.
_UNDER_WAY: Final = frozenset({"pending", "scheduled", "running", "paused", "rolling_back", "completing"})
_BRIEF_NODE: Final = (
    "name",
    "role",
    "healthy",
    "reason",
    "writable",
    "lag_seconds",
    "lag_bytes",
    "circuit",
    "connections",
    "sessions",
    "in_service",
    "server_version",
)
_BRIEF_MIGRATION: Final = (
    "migration_id",
    "status",
    "status_reason",
    "source",
    "target",
    "sessions_migrated",
    "sessions_remaining",
)


def summary(found: Answers, now: float) -> dict[str, Any]:
    """All that is said, as it is for programs. `now`: seconds since 1970 (UTC)."""
    health, version, topology = found["health"], found["version"], found["topology"]
    return {
        "reachable": True,
        "ready": health["ready"],
        "draining": health["draining"],
        "problems": list(problems(found)),
        "version": version["version"],
        "process": version["process"],
        "started_at": version["started_at"],
        "uptime_seconds": round(max(0.0, now - moment(version["started_at"]).timestamp())),
        "primary": topology["primary"],
        "primary_status": topology["primary_status"],
        "nodes": [_brief(each, _BRIEF_NODE) for each in topology["nodes"]],
        "pools": _pools(found["pools"]),
        "sessions": found["sessions"],
        "traffic": found["traffic"][-1] if found["traffic"] else None,
        "migrations": [_brief(each, _BRIEF_MIGRATION) for each in _under_way(found["migrations"])],
        "last_failover": _last_failover(found),
        "circuits": None if found["circuits"] is None else _circuits(found["circuits"]),
    }


def _brief(found: Answers, names: Iterable[str]) -> dict[str, Any]:
    return {name: found[name] for name in names}


def _pools(pools: Iterable[Answers]) -> dict[str, int]:
    """All pools together."""
    counted = list(pools)
    names = ("active", "idle", "connecting", "waiting", "wait_timeouts", "errors")
    return {"pools": len(counted), **{name: sum(each[name] for each in counted) for name in names}}


def _under_way(migrations: Iterable[Answers] | None) -> list[Answers]:
    return [each for each in migrations or () if each["status"] in _UNDER_WAY]


def _circuits(circuits: Answers) -> dict[str, str]:
    return {each["backend"]: each["circuit_state"] for each in circuits["backends"]}


def _last_failover(found: Answers) -> dict[str, Any] | None:
    """The last switchover or failover, and when it was, if that is still known."""
    failover = found["failover"]
    if failover is None or failover["kind"] is None:
        return None
    names = ("kind", "source_backend", "target_backend", "outcome", "failure", "write_pause_seconds")
    brief = _brief(failover, (*names, "failover_active", "client_errors"))
    return {**brief, "at": _time_of(failover, found["events"])}


def _time_of(failover: Answers, events: Iterable[Answers]) -> str | None:
    """When the newest event of a failover was; a switchover is a migration, and has that one's events."""
    if failover["kind"] == "failover":
        mine = (each["at"] for each in events if each["kind"].startswith("failover"))
    else:
        subject = f"migration {failover['migration_id']}"
        mine = (each["at"] for each in events if each["subject"] == subject)
    return next(mine, None)


# -- what is wrong -----------------------------------------------------------------------------------------------


def problems(found: Answers) -> Iterator[str]:
    """Everything that somebody should look at, the worst first."""
    if not found["health"]["ready"]:
        yield f"writes cannot be served: {found['health']['reason']}"
    yield from _problems_of_topology(found["topology"])
    yield from _problems_of_pools(found["pools"])
    yield from _problems_of_migrations(found["migrations"] or ())
    yield from problems_of_failover(found["failover"])
    yield from _problems_of_circuits(found["circuits"])


def _problems_of_topology(topology: Answers) -> Iterator[str]:
    if topology["provider_problem"]:
        yield f"{topology['provider']} cannot be heard: {topology['provider_problem']}"
    if topology["primary_status"] == "pending":
        yield f"{topology['pending_primary']} is about to be primary, and is not confirmed yet"
    for node in topology["nodes"]:
        yield from _problems_of_node(node)


def _problems_of_node(node: Answers) -> Iterator[str]:
    name = node["name"]
    if node["healthy"] is False:
        yield f"{name} is down: {node['reason']}"
    elif node["healthy"] is None:
        yield f"{name} has not been asked yet"
    elif node["reason"]:
        yield f"{name}: {node['reason']}"
    if node["deposed"]:
        yield f"{name} gets no writes: {node['deposed']}"
    if not node["in_service"]:
        yield f"{name} is out of service: new sessions are not let in"


def _problems_of_pools(pools: Iterable[Answers]) -> Iterator[str]:
    for pool in pools:
        if pool["waiting"]:
            where = f"{pool['database']} as {pool['user']} on {pool['backend']}"
            used = f"{pool['active']} of {pool['max']} connections are in use"
            yield f"{pool['waiting']} clients wait for a connection to {where}: {used}"


def _problems_of_migrations(migrations: Iterable[Answers]) -> Iterator[str]:
    for each in migrations:
        if each["status"] in ("paused", "interrupted", "failed"):
            reason = f": {each['status_reason']}" if each["status_reason"] else ""
            yield f"migration {each['migration_id']} is {each['status']}{reason}"
        return  # only the newest may still need somebody


def problems_of_failover(failover: Answers | None) -> Iterator[str]:
    """A switchover or failover that is under way, or that did not succeed."""
    if failover is None or failover["kind"] is None:
        return
    if failover["failover_active"]:
        yield f"a {failover['kind']} from {failover['source_backend']} is under way: {failover['step']}"
    elif failover["failure"]:
        yield f"the last {failover['kind']} did not succeed: {failover['failure']}"


def _problems_of_circuits(circuits: Answers | None) -> Iterator[str]:
    if circuits is None:
        return
    if circuits["cascade"]:
        yield "so many circuits are open that requests are refused"
    for each in circuits["backends"]:
        if each["circuit_state"] != "closed":
            yield f"the circuit of {each['backend']} is {each['circuit_state']}: {each['reason']}"


# -- picture -----------------------------------------------------------------------------------------------------


def status_picture(found: Answers) -> RenderableType:
    """The summary for people."""
    parts: list[RenderableType] = [_title(found), Text(_clients(found)), Text(_connections(found))]
    parts += [Text(line) for line in _background(found)]
    parts += [Text(""), _nodes(found["nodes"])]
    if found["problems"]:
        parts += [Text(""), Text("what is wrong", style="bold red")]
        parts += [Text(f"  {printable(each)}") for each in found["problems"]]
    return Group(*parts)


def _title(found: Answers) -> Text:
    state = ("ready", "bold green") if found["ready"] else ("not ready", "bold red")
    rest = f"  helios {printable(found['version'])}, process {found['process']}"
    return Text.assemble(state, f"{rest}, up {duration(found['uptime_seconds'])}")


def _clients(found: Answers) -> str:
    line = f"sessions     {found['sessions']}"
    if (traffic := found["traffic"]) is not None:
        line += f", {number(traffic['queries_per_second'])} queries/s, p99 {milliseconds(traffic['p99_ms'])}"
    return line


def _connections(found: Answers) -> str:
    pools = found["pools"]
    used = f"{pools['active']} active, {pools['idle']} idle, {pools['waiting']} clients waiting"
    return f"pools        {pools['pools']}: {used}"


def _background(found: Answers) -> Iterator[str]:
    """What goes on besides, or went on."""
    for each in found["migrations"]:
        way = f"{each['source']} -> {each['target']}: {each['status']}"
        moved = f"{each['sessions_migrated']} moved, {each['sessions_remaining']} left"
        yield printable(f"migration    {each['migration_id']} {way}, {moved}")
    if (last := found["last_failover"]) is not None:
        way = f"{last['source_backend'] or '?'} -> {last['target_backend'] or '?'}"
        outcome = last["outcome"] or ("under way" if last["failover_active"] else last["failure"] or "?")
        yield printable(f"{last['kind']:<12} {way}: {outcome}{', ' + last['at'] if last['at'] else ''}")
    if (circuits := found["circuits"]) is not None:
        shut = sum(state == "closed" for state in circuits.values())
        yield f"circuits     {shut} of {len(circuits)} closed"


def _nodes(nodes: Iterable[Answers]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("server", "role", "health", "lag", "connections", "sessions", "release"):
        table.add_column(name, justify="right" if name in ("connections", "sessions") else "left")
    for node in nodes:
        table.add_row(
            Text(printable(node["name"])),
            Text(node["role"] + (" (writes)" if node["writable"] else "")),
            health(node),
            Text(lag(node)),
            Text(str(node["connections"])),
            Text(str(node["sessions"])),
            Text(printable(node["server_version"] or "-")),
        )
    return table


def health(node: Answers) -> Text:
    """One word of a server: up, down, out (of service), or ? where nobody knows."""
    if node["healthy"] is None:
        return Text("?", style="yellow")
    if not node["healthy"]:
        return Text("down", style="bold red")
    return Text("up", style="green") if node["in_service"] else Text("out", style="yellow")


def lag(node: Answers) -> str:
    """How far a server is behind, `-` where that has no meaning or is not known."""
    if node["lag_seconds"] is None and node["lag_bytes"] is None:
        return "-"
    seconds = "" if node["lag_seconds"] is None else f"{node['lag_seconds']:.1f} s"
    return " ".join(filter(None, [seconds, "" if node["lag_bytes"] is None else size(node["lag_bytes"])]))
