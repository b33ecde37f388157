"""What is refused, by name and with the reason; the session has everything as before, and nothing was tried."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import psycopg
import pytest
from temporary_cases import Case, read_cases
from temporary_rig import Rig, contents, named_as_usual, outcome, run

from helios_trio.session.carrying.errors import CannotCarry

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("case", read_cases("refused"), ids=lambda case: case.name)
def test_refused(case: Case, connect: Callable[[str], psycopg.Connection]) -> None:
    """Each reason that is expected is given, and no other."""
    as_user = partial(connect, case.user)
    with connect("postgres") as superuser, Rig.open(as_user, as_user) as rig:
        run(superuser, case.shared)
        try:
            for text in case.build:
                run(rig.old, text)
            check_reasons(case, rig)
        finally:
            for text in case.then:
                run(superuser, text)


def check_reasons(case: Case, rig: Rig) -> None:
    """Every reason is expected, and every expected one is there."""
    reasons = rig.capture().reasons
    for expected in case.reasons:
        assert any(expected in reason for reason in reasons), reasons
    for reason in reasons:
        assert any(expected in reason for expected in case.reasons), reasons


def test_nothing_is_tried(connect: Callable[[str], psycopg.Connection]) -> None:
    """With a reason against it no step is taken, and the old side has everything."""
    as_user = partial(connect, "postgres")
    with Rig.open(as_user, as_user) as rig:
        run(rig.old, "create temp table t (a int); insert into t values (1); create type pg_temp.shell")
        with named_as_usual(rig.old):
            before = contents(rig.old)
        objects = rig.capture()
        steps = len(rig.driver.steps)
        with pytest.raises(CannotCarry, match="base types cannot be made again") as refused:
            rig.restore(objects)
        assert refused.value.reasons == ("type shell: base types cannot be made again",)
        assert refused.value.sqlstate == "0A000"
        assert len(rig.driver.steps) == steps
        with named_as_usual(rig.old):
            assert contents(rig.old) == before


def test_owner_that_may_not_be_taken_any_more(connect: Callable[[str], psycopg.Connection]) -> None:
    """A role whose membership has ended since owns a table."""
    as_user = partial(connect, "carry_login")
    with connect("postgres") as superuser, Rig.open(as_user, as_user) as rig:
        run(
            rig.old,
            "set role carry_writer; create temp table t (a serial); insert into t default values; reset role",
        )
        run(superuser, "revoke carry_writer from carry_login")
        try:
            reasons = rig.capture().reasons
        finally:
            run(superuser, "grant carry_writer to carry_login")
        assert set(reasons) == {
            f"{name} belongs to the role carry_writer, which the session may not take"
            for name in ("t", "t_a_seq")
        }
        assert outcome(rig.old, "select 1") == [(b"1",)]
