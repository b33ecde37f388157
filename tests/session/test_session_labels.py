"""From one set of settings to another: the statements, read back by the parser, lead there (rules 6, 7)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helios_trio.session.labels import CLEANSE, plan
from helios_trio.session.settings import TransactionalState
from helios_trio.sql.cache import FactsCache

FACTS = FactsCache()
PLAIN = st.sampled_from(
    ["work_mem", "timezone", "search_path", "application_name", "app.tenant_id", "datestyle"]
)
VALUES = st.sampled_from(["1MB", "UTC", "it's", 'a"b', "back\\slash", "a, b", "$x$", "é"])
LABELS = st.dictionaries(PLAIN, VALUES, max_size=4)
PEOPLE = st.dictionaries(
    st.sampled_from(["role", "session_authorization"]), st.sampled_from(["alice", "Bob"])
)


def carried_after(text: str, actual: dict[str, str], base: dict[str, str]) -> dict[str, str]:
    """The settings of a connection opened with `base` after these statements."""
    state = TransactionalState.at_start(base)
    state.adopt(base, base)
    state.now = type(state.now)(actual, actual)
    facts = FACTS.facts(text.encode())
    assert facts.parsed
    for statement in facts.statements:
        for change in statement.settings:
            assert change.certain
            state.change(change)
    return dict(state.now.actual)


@given(LABELS, PEOPLE, LABELS, PEOPLE)
def test_the_plan_leads_to_what_is_wanted(
    actual: dict[str, str], who: dict[str, str], wanted: dict[str, str], wanted_who: dict[str, str]
) -> None:
    """Whatever the connection carries: afterwards it carries what the session wants, and only that."""
    actual, wanted = {**actual, **who}, {**wanted, **wanted_who}
    steps = plan(actual, wanted, {})
    if steps is None:
        assert actual == wanted
        return
    assert actual != wanted
    assert carried_after(steps.text, actual, {}) == wanted


@given(LABELS, LABELS)
def test_a_cleansed_connection_starts_from_what_it_was_opened_with(
    base: dict[str, str], wanted: dict[str, str]
) -> None:
    """What invisible code may have left is taken away first, and its success is waited for."""
    steps = plan({"work_mem": "unknown"}, wanted, base, cleanse=True)
    assert steps is not None
    assert steps.confirm
    assert steps.text.split(";")[: len(CLEANSE)] == list(CLEANSE)
    missing = {name for name in base if name not in wanted}
    found = carried_after(steps.text, {"work_mem": "unknown"}, base)
    assert {name: value for name, value in found.items() if name not in missing} == wanted


@pytest.mark.parametrize(
    ("wanted", "confirm"),
    [
        ({"work_mem": "1MB"}, False),
        ({"search_path": "a"}, False),
        ({"role": "alice"}, True),
        ({"session_authorization": "alice"}, True),
        ({"app.tenant_id": "7"}, True),
        ({"default_tablespace": "fast"}, True),
        ({"work_mem": "1MB", "default_text_search_config": "german"}, True),
    ],
)
def test_what_a_server_may_refuse_is_confirmed(wanted: dict[str, str], confirm: bool) -> None:
    """A request must never run with the wrong role or tenant."""
    for actual, other in (({}, wanted), (wanted, {})):
        steps = plan(actual, other, {})
        assert steps is not None
        assert steps.confirm is confirm


def test_parameters_are_set_before_the_role_is_taken_on() -> None:
    """The role may not be allowed to."""
    steps = plan({"role": "old"}, {"role": "new", "work_mem": "1MB"}, {})
    assert steps is not None
    assert steps.text.index("work_mem") < steps.text.index("new")
    assert steps.text.index("RESET ROLE") < steps.text.index("work_mem")
