"""Which tenants a migration is for, and whether all sessions of a tenant belong to a share together. Pure.

Used by: migration.phases.
"""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from hashlib import blake2b

from helios_trio.cluster.placement import in_share


def tenant_filter(patterns: tuple[str, ...]) -> Callable[[str], bool] | None:
    """Whether a tenant matches one of the patterns (with * and ?, case counts); None where there are none."""
    if not patterns:
        return None
    return lambda tenant: any(fnmatchcase(tenant, pattern) for pattern in patterns)


def tenant_in_share(tenant: str, percent: float) -> bool:
    """Whether this tenant belongs to so many percent; once in, it stays in when the share grows."""
    digest = blake2b(tenant.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return in_share(int.from_bytes(digest, "big"), percent)
