"""The operating-system account that PostgreSQL runs as, and what that account can reach.

PostgreSQL refuses to run as root. When this process is root, servers and tools run as an unprivileged
account, which must be able to search every folder on the way to the binaries and the data.
Called by `folder`, `binaries` and `programs`.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from helios_trio.embedded.errors import EmbeddedError

ACCOUNTS_FOR_ROOT = ("postgres", "nobody")


@frozen
class Account:
    """An unprivileged account; None in its place everywhere means: as whoever runs this process."""

    uid: int
    gid: int


def choose_account(data: Path | None) -> Account | None:
    """The owner of existing `data`, else the first of ACCOUNTS_FOR_ROOT; None when not root.

    Raises:
        EmbeddedError: this machine has none of the accounts.
    """
    if os.geteuid() != 0:
        return None
    if data is not None and data.exists() and (owner := data.stat()).st_uid != 0:
        return Account(uid=owner.st_uid, gid=owner.st_gid)
    for name in ACCOUNTS_FOR_ROOT:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(uid=entry.pw_uid, gid=entry.pw_gid)
    names = " or ".join(ACCOUNTS_FOR_ROOT)
    raise EmbeddedError(
        f"PostgreSQL does not run as root, and there is no account {names}",
        hint="create one of these accounts, or run as another user",
    )


def can_reach(path: Path, account: Account | None) -> bool:
    """Whether the account may search every folder down to `path` and use `path` itself (by mode bits)."""
    if account is None:
        return True
    return all(_may_search(step, account) for step in _steps(path.resolve()))


def give(path: Path, account: Account | None) -> None:
    """Make the account the owner of `path`."""
    if account is not None:
        os.chown(path, account.uid, account.gid)


def _steps(path: Path) -> Iterator[Path]:
    yield from path.parents
    yield path


def _may_search(path: Path, account: Account) -> bool:
    found = path.stat()
    if found.st_uid == account.uid:
        return bool(found.st_mode & stat.S_IXUSR)
    if found.st_gid == account.gid:
        return bool(found.st_mode & stat.S_IXGRP)
    return bool(found.st_mode & stat.S_IXOTH)
