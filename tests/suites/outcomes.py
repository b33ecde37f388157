"""What became of each test, read from JUnit XML, and which tests one side has lost against the other.

Called by `run`. Pure but for reading the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import TypeAlias
from xml.etree import ElementTree

from attrs import frozen


class Outcome(IntEnum):
    """The worse, the greater: a test that is reported more than once counts as its worst report."""

    PASSED = 0
    SKIPPED = 1
    FAILED = 2


#: node id of pytest -> outcome
Outcomes: TypeAlias = Mapping[str, Outcome]

_TAGS = {"skipped": Outcome.SKIPPED, "failure": Outcome.FAILED, "error": Outcome.FAILED}


@frozen
class Verdict:
    """What repeating the tests in question has shown."""

    #: passes directly, fails through the proxy
    lost: tuple[str, ...]
    #: failed once through the proxy and passed whenever it was repeated
    unsteady: tuple[str, ...]
    #: fails directly too when repeated: the test itself is a gamble
    fails_directly: tuple[str, ...]


def read_outcomes(path: Path) -> dict[str, Outcome]:
    """The outcomes in a file that pytest wrote with `junit_family=xunit1`."""
    found: dict[str, Outcome] = {}
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        node = _node_id(case)
        outcome = max((_TAGS[part.tag] for part in case if part.tag in _TAGS), default=Outcome.PASSED)
        found[node] = max(outcome, found.get(node, Outcome.PASSED))
    return found


def not_kept(direct: Outcomes, proxied: Outcomes) -> list[str]:
    """Tests that passed directly and not through the proxy; a test that is not there did not pass."""
    return [
        node
        for node, outcome in direct.items()
        if outcome is Outcome.PASSED and proxied.get(node) is not Outcome.PASSED
    ]


def count_passed(outcomes: Outcomes) -> int:
    """How many tests passed."""
    return sum(outcome is Outcome.PASSED for outcome in outcomes.values())


def judge(suspects: Sequence[str], direct: Sequence[Outcomes], proxied: Sequence[Outcomes]) -> Verdict:
    """Judge by repeated runs of the suspects alone; without any, every suspect is lost."""
    fails_directly = [node for node in suspects if not _passes(node, direct)]
    rest = [node for node in suspects if node not in fails_directly]
    unsteady = [node for node in rest if proxied and _passes(node, proxied)]
    lost = [node for node in rest if node not in unsteady]
    return Verdict(tuple(lost), tuple(unsteady), tuple(fails_directly))


def _passes(node: str, runs: Sequence[Outcomes]) -> bool:
    return all(run.get(node) is Outcome.PASSED for run in runs)


def _node_id(case: ElementTree.Element) -> str:
    """`file::Class::name`; a module's own path is the first part of `classname`."""
    file, classname = case.get("file", ""), case.get("classname", "")
    module = file.removesuffix(".py").replace("/", ".")
    classes = [part for part in classname.removeprefix(module).split(".") if part]
    return "::".join([file, *classes, case.get("name", "")])
