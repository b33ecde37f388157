"""Temporary tables and everything else in a session's temporary schema (correctness rules 10 and 18).

    objects = yield from capture_temporary(known_on_commit)     # the old connection is only read
    rows = yield from restore_temporary(objects)                # the new one gets everything, rows streamed
    queries = digest_temporary(objects)                         # asked on both, before the point of no return
    differing = temporary_differences(old_answers, new_answers)

`restore_and_compare` does the last three with one round trip less.

The new connection must be the login role's and have none of the client's settings yet; positions of sequences come
back with currval(), which is to be put right (if it was used) only afterwards.

How it is divided: `records`, `catalog`, `catalog_others` say what is read; `closure` finds what there is; `tables`,
`parts`, `others`, `privileges` write SQL from it, as `nodes`, which know their order; `assembly` and `reasons` put it
together; `capture`, `restore` and `digest` are the plans; `environment` keeps the client's settings out of all.

Used by: session.carrying.carry.
"""

from __future__ import annotations

from helios_trio.session.carrying.temporary.capture import capture_temporary
from helios_trio.session.carrying.temporary.digest import digest_temporary, temporary_differences
from helios_trio.session.carrying.temporary.objects import TemporaryObjects
from helios_trio.session.carrying.temporary.restore import Restored, restore_and_compare, restore_temporary

__all__ = [
    "Restored",
    "TemporaryObjects",
    "capture_temporary",
    "digest_temporary",
    "restore_and_compare",
    "restore_temporary",
    "temporary_differences",
]
