"""What `helios status` makes of the answers of the API: what is wrong, and how it is shown."""

from __future__ import annotations

import io
from typing import Any

import pytest
from answers import NOW, STANDBY, answers, failover, migration, node, pool, session, topology
from rich.console import Console

from helios_trio.cli.screen import session_table
from helios_trio.cli.status_view import problems, status_picture, summary
from helios_trio.cli.words import duration, milliseconds, number, printable, short_duration, size

NOT_READY = {"ready": False, "draining": False, "reason": "node1: connection refused"}


def test_all_is_well() -> None:
    """Nothing is wrong, and the figures are added up."""
    found = summary(answers(pools=[pool(), pool(user="other", active=7)]), NOW)
    assert (found["ready"], found["problems"], found["uptime_seconds"]) == (True, [], 3725)
    assert found["pools"]["pools"] == 2
    assert found["pools"]["active"] == 9
    assert found["traffic"]["queries_per_second"] == 1234.0
    assert (found["last_failover"], found["circuits"], found["migrations"]) == (None, None, [])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"health": NOT_READY}, "writes cannot be served: node1: connection refused"),
        ({"topology": topology(node(healthy=False, reason="refused"))}, "node1 is down: refused"),
        ({"topology": topology(node(healthy=None))}, "node1 has not been asked yet"),
        ({"topology": topology(node(reason="says it is a standby"))}, "node1: says it is a standby"),
        ({"topology": topology(node(in_service=False))}, "node1 is out of service"),
        ({"topology": topology(node(deposed="older timeline"))}, "node1 gets no writes: older timeline"),
        ({"topology": topology(provider_problem="no member answers")}, "postgres cannot be heard: no member"),
        (
            {"topology": topology(primary_status="pending", pending_primary="node2")},
            "node2 is about to be primary",
        ),
        ({"pools": [pool(waiting=3, active=10)]}, "3 clients wait for a connection to shop as app on node1"),
        ({"migrations": [migration(status="paused", status_reason="lag")]}, "migration 1 is paused: lag"),
        (
            {"failover": failover(kind="failover", failure="no candidate")},
            "the last failover did not succeed",
        ),
        (
            {"failover": failover(kind="switchover", failover_active=True, source_backend="a", step="hold")},
            "a switchover from a is under way: hold",
        ),
        (
            {
                "circuits": {
                    "cascade": True,
                    "backends": [{"backend": "node1", "circuit_state": "open", "reason": "slow"}],
                }
            },
            "the circuit of node1 is open: slow",
        ),
    ],
)
def test_what_is_wrong_is_said(changed: dict[str, Any], words: str) -> None:
    """Each by itself, in words."""
    assert any(words in each for each in problems(answers(**changed)))


def test_only_the_newest_migration_needs_somebody() -> None:
    """What failed before it is history."""
    migrations = [migration(2, status="completed"), migration(1, status="failed")]
    assert list(problems(answers(migrations=migrations))) == []


def test_the_time_of_the_last_failover() -> None:
    """Is that of its newest event; a switchover has its migration's."""
    events = [
        {"at": "T3", "kind": "migration completed", "subject": "migration 4"},
        {"at": "T2", "kind": "failover completed", "subject": "node1"},
        {"at": "T1", "kind": "failover: promote", "subject": "node1"},
    ]
    died = failover(kind="failover", outcome="completed", source_backend="node1", target_backend="node2")
    planned = failover(kind="switchover", outcome="completed", migration_id=4)
    for found, at in ((died, "T2"), (planned, "T3")):
        assert summary(answers(failover=found, events=events), NOW)["last_failover"]["at"] == at
    assert summary(answers(failover=died), NOW)["last_failover"]["at"] is None


def drawn(found: dict[str, Any], width: int = 80) -> list[str]:
    screen = Console(file=io.StringIO(), width=width, no_color=True, highlight=False)
    screen.print(status_picture(summary(found, NOW)))
    text: str = screen.file.getvalue()  # type: ignore[attr-defined]
    return text.splitlines()


def test_one_screen() -> None:
    """Of 80 columns."""
    lines = drawn(answers(failover=failover(kind="failover", outcome="completed", source_backend="node1")))
    assert lines[0].rstrip() == "ready  helios 9.9, process 7, up 1 h 2 min"
    assert lines[1].rstrip() == "sessions     30, 1234 queries/s, p99 -"
    assert lines[3].rstrip() == "failover     node1 -> ?: completed"
    assert lines[6].split() == ["node1", "primary", "(writes)", "up", "-", "12", "30", "18.1"]
    assert lines[7].split() == ["node2", "standby", "up", "1.5", "s", "600", "B", "12", "30", "18.1"]
    assert max(map(len, lines)) <= 80


def test_names_that_others_choose_do_no_harm() -> None:
    """No escape sequence and no markup comes through."""
    bad = "\x1b[2J[/red][bold]x"
    lines = drawn(answers(topology=topology(node(bad, **STANDBY))), width=120)
    assert any("[2J[/red][bold]x" in line for line in lines)
    assert "\x1b" not in "".join(lines)


def test_names_in_the_list_of_sessions() -> None:
    """Likewise."""
    screen = Console(file=io.StringIO(), width=120, no_color=True)
    more = {"tenant": "[/red]", "immovable": ["a\x1b[2J"]}
    screen.print(session_table([session(user="[bold]x\n", **more)]))
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "[bold]x\ufffd" in text
    assert "[/red]" in text
    assert "\x1b" not in text


# -- words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "words", "short"),
    [
        (-1, "0 s", "0.0s"),
        (7, "7 s", "7.0s"),
        (59.9, "59 s", "60s"),
        (61, "1 min 1 s", "1m"),
        (3600, "1 h 0 min", "1h"),
        (90061, "1 d 1 h", "1d"),
    ],
)
def test_durations(seconds: float, words: str, short: str) -> None:
    """The two greatest units; in a column, one."""
    assert (duration(seconds), short_duration(seconds)) == (words, short)


def test_numbers() -> None:
    """As few digits as tell enough."""
    assert [number(each) for each in (0, 7.54, 99.96, 120.4, 12_345)] == ["0", "7.5", "100", "120", "12.3k"]
    assert [milliseconds(each) for each in (None, 0.8, 999, 1500)] == ["-", "0.8 ms", "999 ms", "1.5 s"]
    assert [size(each) for each in (0, 600, 2048, 5 << 30)] == ["0 B", "600 B", "2 kB", "5 GB"]


def test_printable() -> None:
    """One line, nothing that a terminal obeys; letters of any script stay."""
    assert printable("a\x1b[0m\nб\u202e語") == "a\ufffd[0m\ufffdб\ufffd語"
