"""Durations and sizes: what is written is what is meant, and what is printed reads back."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helios_trio.config import format_duration, format_size, parse_duration, parse_size
from helios_trio.config.units import LONGEST


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("250us", 0.00025),
        ("30s", 30.0),
        ("5m", 300.0),
        ("5min", 300.0),
        ("1h", 3600.0),
        ("1d", 86400.0),
        ("1h30m", 5400.0),
        ("1h 30m", 5400.0),
        ("0.1s", 0.1),
        ("0s", 0.0),
        ("off", math.inf),
    ],
)
def test_durations_are_seconds(text: str, seconds: float) -> None:
    """Each unit, fractions and joined units."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "30", "s", "-1s", "1S", "1e3s", "1s2", "1 x", "Off", "١s", "99999999999d"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    """A number without a unit in particular."""
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@given(st.floats(min_value=0, max_value=LONGEST, allow_nan=False))
def test_a_printed_duration_reads_back_exactly(seconds: float) -> None:
    """Round trip over all floats that are durations."""
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.integers(min_value=0, max_value=LONGEST))
def test_whole_seconds_are_printed_without_fraction(seconds: int) -> None:
    """No duration of whole seconds is printed with a decimal point."""
    assert "." not in format_duration(float(seconds))


@pytest.mark.parametrize(
    ("text", "size"),
    [("0B", 0), ("1B", 1), ("16kB", 16384), ("64MB", 64 * 2**20), ("1GB", 2**30), ("2 TB", 2**41)],
)
def test_sizes_are_bytes(text: str, size: int) -> None:
    """PostgreSQL's units, 1024 of each."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "64", "64mb", "64KB", "1.5MB", "-1B", "off"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """Case matters, as in postgresql.conf."""
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


@given(st.integers(min_value=0, max_value=2**60))
def test_a_printed_size_reads_back_exactly(size: int) -> None:
    """Round trip over all sizes."""
    assert parse_size(format_size(size)) == size


@given(st.text(max_size=20))
def test_no_text_breaks_the_parsers(text: str) -> None:
    """Any text is read or refused with ValueError."""
    for parse in (parse_duration, parse_size):
        try:
            assert parse(text) >= 0
        except ValueError:
            continue
