"""How new rows can be that a query asks for: what is understood, and that everything else is no limit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helios_trio.sql.newest import LONGEST, newest

NOW = datetime(2030, 6, 15, 12, tzinfo=UTC)
BEHIND = timedelta(hours=12)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("at < '2020-01-01T00:00:00Z'", at("2020-01-01")),
        ("at < '2020-01-01 01:00:00+01'", at("2020-01-01")),
        ("at < '2020-01-01'", at("2020-01-01") + BEHIND),
        ("at <= '2020-01-01'", at("2020-01-02") + BEHIND),
        ("at = date '2020-01-01'", at("2020-01-02") + BEHIND),
        ("at < '2020-01-01'::timestamptz", at("2020-01-01") + BEHIND),
        ("at < timestamp '2020-01-01 06:00'", at("2020-01-01") + timedelta(hours=18)),
        ("'2020-01-01' > o.at", at("2020-01-01") + BEHIND),
        ("'2020-01-01' >= s.o.at", at("2020-01-02") + BEHIND),
        ("at BETWEEN '2019-01-01' AND '2020-01-01'", at("2020-01-02") + BEHIND),
        ("at < now()", NOW),
        ("at < now() - interval '90 days'", NOW - timedelta(days=90)),
        ("at < now() - '2 weeks 3 days'::interval", NOW - timedelta(days=17)),
        ("at < current_timestamp - interval '1 month'", NOW - timedelta(days=28)),
        ("at < current_date - 30", NOW - timedelta(days=30)),
        ("at < (now() - interval '1 day') - interval '1 hour'", NOW - timedelta(hours=25)),
        ("id = 1 AND at < '2020-01-01' AND (x OR y)", at("2020-01-01") + BEHIND),
        ("at < now() AND (at < '2020-01-01' AND at > '2000-01-01')", at("2020-01-01") + BEHIND),
    ],
)
def test_limits(condition: str, expected: datetime) -> None:
    """Too late rather than too early."""
    assert newest(f"SELECT count(*) FROM o WHERE {condition}".encode(), "at", NOW) == expected


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1 FROM o",
        "SELECT 1 FROM o WHERE at > '2020-01-01'",
        "SELECT 1 FROM o WHERE '2020-01-01' < at",
        "SELECT 1 FROM o WHERE at < $1",
        "SELECT 1 FROM o WHERE at < now() - $1::interval",
        "SELECT 1 FROM o WHERE at < '2020-01-01' OR id = 1",
        "SELECT 1 FROM o WHERE NOT at < '2020-01-01'",
        "SELECT 1 FROM o WHERE other < '2020-01-01'",
        "SELECT 1 FROM o WHERE at < 'yesterday'",
        "SELECT 1 FROM o WHERE at < '2020-13-01'",
        "SELECT 1 FROM o WHERE at <= '9999-12-31'::date",
        "SELECT 1 FROM o WHERE at < now() + interval '1 day'",
        "SELECT 1 FROM o WHERE at < now() - interval '-1 day'",
        "SELECT 1 FROM o WHERE at < now() - interval '1 fortnight'",
        "SELECT 1 FROM o WHERE at < now() - interval '99999999999999 years'",
        "SELECT 1 FROM o WHERE at < f(now())",
        "SELECT 1 FROM o WHERE at < '2020-01-01'::text",
        "SELECT 1 FROM o WHERE at < ALL (ARRAY['2020-01-01'])",
        "SELECT 1 FROM o WHERE at IN ('2020-01-01')",
        "SELECT 1 FROM o WHERE at < '2020-01-01' UNION SELECT 1 FROM o",
        "SELECT 1 FROM o WHERE at < '2020-01-01'; SELECT 1",
        "DELETE FROM o WHERE at < '2020-01-01'",
        "SELECT 1 FROM o WHERE at < -now()",
        "SELEC",
        "",
        "SELECT 1 FROM o WHERE at < '2020-01-01' /*" + "x" * LONGEST + "*/",
    ],
)
def test_everything_else_is_no_limit(text: str) -> None:
    """Also what no server would take."""
    assert newest(text.encode(), "at", NOW) is None


@given(st.text("at<>=-+()'0123456789: nowidaySELECTFROMWHERANDbetw", max_size=60))
def test_no_condition_is_too_strange(condition: str) -> None:
    """Whatever clients send."""
    found = newest(f"SELECT 1 FROM o WHERE at < now() - {condition}".encode(), "at", NOW)
    assert found is None or found <= NOW


def test_bytes_that_are_no_text() -> None:
    """Neither."""
    assert newest(b"SELECT '\xff'", "at", NOW) is None
    assert newest(b"SELECT 1\0", "at", NOW) is None
