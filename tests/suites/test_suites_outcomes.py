"""The comparison of two runs: what counts as lost, and that nothing is overlooked."""

from __future__ import annotations

from pathlib import Path

import pytest
from catalogue import PG8000
from outcomes import Outcome, Verdict, judge, not_kept, read_outcomes
from packages import NoTests, copy_tests

PASSED, SKIPPED, FAILED = Outcome.PASSED, Outcome.SKIPPED, Outcome.FAILED
XML = """<testsuites><testsuite>
<testcase classname="tests.test_pool.TestPool" file="tests/test_pool.py" name="test_one"/>
<testcase classname="tests.test_pool" file="tests/test_pool.py" name="test_two[a.b]"><failure/></testcase>
<testcase classname="tests.test_pool" file="tests/test_pool.py" name="test_three"><skipped/></testcase>
<testcase classname="tests.test_pool" file="tests/test_pool.py" name="test_four"/>
<testcase classname="tests.test_pool" file="tests/test_pool.py" name="test_four"><error/></testcase>
</testsuite></testsuites>"""


def test_node_ids_and_outcomes_are_read(tmp_path: Path) -> None:
    """Names are those that pytest takes to run a test again; an error in the teardown spoils a pass."""
    path = tmp_path / "run.xml"
    path.write_text(XML)
    assert read_outcomes(path) == {
        "tests/test_pool.py::TestPool::test_one": PASSED,
        "tests/test_pool.py::test_two[a.b]": FAILED,
        "tests/test_pool.py::test_three": SKIPPED,
        "tests/test_pool.py::test_four": FAILED,
    }


@pytest.mark.parametrize("proxied", [{"t": FAILED}, {"t": SKIPPED}, {}])
def test_whatever_is_not_a_pass_is_not_kept(proxied: dict[str, Outcome]) -> None:
    """A test that is skipped or missing through the proxy is as bad as one that fails."""
    assert not_kept({"t": PASSED}, proxied) == ["t"]


@pytest.mark.parametrize("direct", [FAILED, SKIPPED])
def test_only_direct_passes_can_be_lost(direct: Outcome) -> None:
    """What does not pass directly proves nothing."""
    assert not_kept({"t": direct}, {"t": FAILED}) == []


def test_one_failure_among_the_repeats_is_a_loss() -> None:
    """Passing twice out of three times is not passing."""
    direct = [{"t": PASSED}] * 3
    assert judge(["t"], direct, [{"t": PASSED}, {"t": FAILED}, {"t": PASSED}]) == Verdict(("t",), (), ())


def test_repeats_tell_unsteady_tests_apart() -> None:
    """A suspect that always passes when repeated is unsteady; one that also fails directly is a gamble."""
    direct = [{"a": PASSED, "b": PASSED}, {"a": PASSED, "b": FAILED}]
    proxied = [{"a": PASSED, "b": FAILED}, {"a": PASSED, "b": FAILED}]
    assert judge(["a", "b"], direct, proxied) == Verdict((), ("a",), ("b",))


def test_without_repeats_every_suspect_is_lost() -> None:
    """`--repeats 0` is the strict form."""
    assert judge(["t"], [], []) == Verdict(("t",), (), ())


def test_a_package_without_tests_is_told(tmp_path: Path) -> None:
    """It must not look like a suite that lost nothing."""
    with pytest.raises(NoTests, match=r"pg8000-.* has no folder test"):
        copy_tests(PG8000, tmp_path, tmp_path / "copy")
