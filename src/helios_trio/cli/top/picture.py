"""The picture of `helios top`: lines that fit a terminal, made from what is known. Pure.

Used by: cli.top.watching.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import frozen
from rich.console import Group, RenderableType
from rich.text import Text

from helios_trio.cli.events import event_line
from helios_trio.cli.status_view import problems_of_failover
from helios_trio.cli.top.columns import Cell, Column, table
from helios_trio.cli.top.state import TopState
from helios_trio.cli.words import duration, milliseconds, moment, number, printable, short_duration, size

Found = Mapping[str, Any]

#: Lines besides those of the three tables: titles, what separates them, and the last two.
_AROUND: Final = 8
#: Rows where nothing limits them.
_UNLIMITED: Final = 20

_NODES: Final = (
    Column("server", 12, share=2),
    Column("role", 8, share=1),
    Column("health", 6),
    Column("lag", 8, right=True),
    Column("circuit", 9),
    Column("query/s", 7, right=True),
    Column("p99", 8, right=True),
    Column("conns", 5, right=True),
    Column("sess", 5, right=True),
)
_POOLS: Final = (
    Column("backend", 10, share=1),
    Column("database", 10, share=1),
    Column("user", 10, share=1),
    Column("mode", 11),
    Column("active", 6, right=True),
    Column("idle", 5, right=True),
    Column("wait", 5, right=True),
    Column("max", 5, right=True),
    Column("timeouts", 8, right=True),
)
_SESSIONS: Final = (
    Column("session", 7, right=True),
    Column("user", 9, share=2),
    Column("database", 9, share=2),
    Column("application", 11, share=3),
    Column("backend", 8, share=1),
    Column("state", 8),
    Column("for", 5, right=True),
    Column("age", 5, right=True),
    Column("pins", 8, share=4),
)
#: States in at most eight characters.
_STATES: Final = {"idle in transaction": "in trans", "waiting for a connection": "waiting"}
_COLOURS: Final = {
    "active": "green",
    "waiting": "bold red",
    "in trans": "yellow",
    "held": "red",
    "moving": "cyan",
}
_CIRCUITS: Final = {"open": "bold red", "half_open": "yellow"}


@frozen
class Room:
    """Rows that each table may have."""

    nodes: int
    pools: int
    sessions: int

    @classmethod
    def of(cls, height: int | None, head: int, nodes: int, pools: int) -> Room:
        """In a terminal of so many lines, of which the head takes some; None: nothing is cut that is of interest."""
        if height is None:
            return cls(nodes, min(pools, _UNLIMITED), _UNLIMITED)
        left = max(0, height - head - _AROUND)
        for_nodes = min(nodes, max(1, left // 3))
        for_pools = min(pools, max(1, left // 4))
        return cls(for_nodes, for_pools, max(0, left - for_nodes - for_pools))


def picture(state: TopState, width: int, height: int | None, now: float) -> RenderableType:
    """All of it. `width`, `height`: of the terminal, None is without end; `now`: seconds since 1970 (UTC)."""
    head = list(_head(state, now))
    nodes = state.topics.get("topology", {}).get("nodes", ())
    pools = state.topics.get("pools", {}).get("pools", ())
    room = Room.of(height, len(head), len(nodes), len(pools))
    lines = [
        *head,
        Text(),
        *_nodes(state, nodes[: room.nodes], width),
        Text(),
        *_pools(pools, room.pools, width),
        Text(),
        *_sessions(state, room.sessions, width, now),
    ]
    return Group(*map(_uncut, lines), *_foot(state, live=height is not None))


def _uncut(line: Text) -> Text:
    line.no_wrap, line.overflow = True, "crop"
    return line


# -- head --------------------------------------------------------------------------------------------------------


def _head(state: TopState, now: float) -> Iterator[Text]:
    yield _title(state, now)
    yield from _traffic(state.topics.get("traffic"), state.topics.get("sessions"))
    for line in _going_on(state):
        yield Text(printable(line), style="cyan")
    for line in filter(None, (state.notice, state.complaint)):
        yield Text(line, style="yellow")


def _title(state: TopState, now: float) -> Text:
    if state.hello is None:
        return Text(f"helios  {state.trouble}", style="bold red")
    up = duration(now - moment(state.hello["started_at"]).timestamp())
    title = Text(
        f"helios {printable(state.hello['version'])}  process {state.hello['process']}  up {up}", "bold"
    )
    if state.trouble:
        return title.append(f"  {state.trouble}", "bold red")
    primary = state.topics.get("topology", {}).get("primary")
    return title.append(
        f"  primary {printable(primary)}" if primary else "  no primary", "" if primary else "bold red"
    )


def _traffic(sample: Found | None, sessions: Found | None) -> Iterator[Text]:
    if sample is None:
        yield Text("no traffic measured yet")
        return
    latencies = "  ".join(f"{name} {milliseconds(sample[f'{name}_ms'])}" for name in ("p50", "p95", "p99"))
    errors = sample["errors_per_second"]
    line = Text(f"queries/s {number(sample['queries_per_second'])}  {latencies}  ")
    yield line.append(f"errors/s {number(errors)}", "red" if errors else "")
    waiting = sample["waiting"]
    line = Text(f"clients {sample['clients']}  active {sample['active']}  ")
    line.append(f"waiting {waiting}", "bold red" if waiting else "")
    line.append(f"  server connections {sample['server_connections']}")
    yield line.append(f"  pinned {sessions['pinned']}" if sessions and "pinned" in sessions else "")


def _going_on(state: TopState) -> Iterator[str]:
    """A migration that is not over, a failover."""
    for each in state.topics.get("migrations", {}).get("migrations", ())[:1]:
        if each["status"] in ("running", "paused", "rolling_back", "completing", "pending"):
            way = f"migration {each['migration_id']} {each['source']} -> {each['target']}: {each['status']}"
            yield f"{way}, {each['sessions_migrated']} moved, {each['sessions_remaining']} left"
    failover = state.topics.get("failover")
    if failover is not None and failover["failover_active"]:
        yield from problems_of_failover(failover)


# -- tables ------------------------------------------------------------------------------------------------------


def _nodes(state: TopState, nodes: Sequence[Found], width: int) -> list[Text]:
    traffic = (state.topics.get("traffic") or {}).get("backends", {})
    return table(_NODES, [_node(each, traffic.get(each["name"])) for each in nodes], width)


def _node(node: Found, traffic: Found | None) -> list[Cell | str]:
    circuit: str = node["circuit"] or "-"
    return [
        printable(node["name"]),
        node["role"],
        _health(node),
        _lag(node),
        Cell(circuit, _CIRCUITS.get(circuit, "")),
        number(traffic["queries_per_second"]) if traffic else "-",
        milliseconds(traffic["p99_ms"]) if traffic else "-",
        str(node["connections"]),
        str(node["sessions"]),
    ]


def _health(node: Found) -> Cell:
    if node["healthy"] is None:
        return Cell("?", "yellow")
    if not node["healthy"]:
        return Cell("down", "bold red")
    return Cell("up", "green") if node["in_service"] else Cell("out", "yellow")


def _lag(node: Found) -> str:
    if node["lag_seconds"] is not None:
        return short_duration(node["lag_seconds"])
    return "-" if node["lag_bytes"] is None else size(node["lag_bytes"])


def _pools(pools: Sequence[Found], most: int, width: int) -> list[Text]:
    busiest = sorted(pools, key=lambda each: (-each["waiting"], -each["active"], -each["idle"]))
    return table(_POOLS, [_pool(each) for each in busiest[:most]], width)


def _pool(pool: Found) -> list[Cell | str]:
    full = pool["active"] >= pool["max"]
    return [
        *(printable(pool[name]) for name in ("backend", "database", "user", "mode")),
        Cell(str(pool["active"]), "yellow" if full else ""),
        str(pool["idle"]),
        Cell(str(pool["waiting"]), "bold red" if pool["waiting"] else ""),
        str(pool["max"]),
        str(pool["wait_timeouts"]),
    ]


def _sessions(state: TopState, most: int, width: int, now: float) -> list[Text]:
    return table(_SESSIONS, [_session(each, now) for each in state.shown()[:most]], width)


def _session(session: Found, now: float) -> list[Cell | str]:
    word: str = _STATES.get(session["state"]) or session["state"]
    return [
        str(session["id"]),
        *(printable(session[name]) for name in ("user", "database", "application_name", "backend")),
        Cell(word, _COLOURS.get(word, "")),
        short_duration(session["idle_seconds"]),
        short_duration(now - moment(session["since"]).timestamp()),
        printable(", ".join(session["pins"])),
    ]


# -- foot --------------------------------------------------------------------------------------------------------


def _foot(state: TopState, *, live: bool) -> Iterator[Text]:
    if (event := state.topics.get("events")) is not None:
        yield _uncut(Text(f"last event  {event_line(event)}", style="dim"))
    yield _uncut(_prompt(state) if live else Text(_of_how_many(state)))


def _prompt(state: TopState) -> Text:
    if state.typing:
        return Text(f"user, database or application: {state.needle}▏  (Enter keeps it, Esc ends it)", "bold")
    keys = "q quits  s sorts  / filters" + ("  Esc shows all" if state.needle else "")
    return Text(f"{_of_how_many(state)}   {keys}", style="dim")


def _of_how_many(state: TopState) -> str:
    """How the list of sessions came about."""
    only = f', of "{state.needle}"' if state.needle else ""
    listed = len(state.sessions)
    cut = f", of the first {listed}" if listed < state.total else ""
    return f"{len(state.shown())} of {state.total} sessions{only}{cut}, {state.sort} first"
