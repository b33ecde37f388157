"""`Finding`: one thing that was looked at, what there was to see, and what to do about it. Pure.

Used by: all of cli.doctor.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from attrs import frozen


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    #: it works, though not as well, as long or as safely as it could
    WARNING = "warning"
    #: something that is configured does not work, or will not when it is needed
    WRONG = "wrong"


@frozen
class Finding:
    """One thing that was looked at."""

    verdict: Verdict
    #: name of the check, for programs
    check: str
    #: what was looked at: a server, a file, an address; empty: all of it
    about: str
    #: what there was to see
    what: str
    #: what to do; empty where all is well
    remedy: str = ""


def ok(check: str, about: str, what: str) -> Finding:
    """All is well."""
    return Finding(Verdict.OK, check, about, what)


def warning(check: str, about: str, what: str, remedy: str) -> Finding:
    """It could be better."""
    return Finding(Verdict.WARNING, check, about, what, remedy)


def wrong(check: str, about: str, what: str, remedy: str) -> Finding:
    """It does not work, or will not."""
    return Finding(Verdict.WRONG, check, about, what, remedy)


def worst(findings: Iterable[Finding]) -> Verdict:
    """The worst verdict of all; ok where nothing was found."""
    order = list(Verdict)
    return max((each.verdict for each in findings), key=order.index, default=Verdict.OK)
