"""Temporary objects of every kind, carried from one connection to another: all of them, and they work there.

After each carry the structure (by PostgreSQL's views), all rows in their order and the positions of sequences are the
same on both sides, and what the client does next has the same outcome on both.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import psycopg
import pytest
from temporary_cases import Case, disturbed_cases, read_cases
from temporary_rig import Rig, make_alike, outcome, run

pytestmark = pytest.mark.cluster

CASES = [*read_cases("columns", "constraints", "others", "partitions", "roles"), *disturbed_cases()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_carried(case: Case, connect: Callable[[str], psycopg.Connection]) -> None:
    """From one connection to another one of the same server."""
    as_user = partial(connect, case.user)
    with Rig.open(as_user, as_user) as rig:
        if isinstance(outcome(rig.old, f"select {case.needs}"), str):
            pytest.skip("this server was built without it")
        with connect("postgres") as superuser:
            run(superuser, case.shared)
        check(case, rig)


def check(case: Case, rig: Rig) -> None:
    """Build, carry, compare, and go on as the client would."""
    for text in case.build:
        run(rig.old, text)
    rig.carry(case.known)
    for each in (rig.old, rig.new):
        make_alike(each)
    rig.assert_same()
    for text in case.then:
        rig.assert_alike(text)
