"""`[embedded]`: the PostgreSQL cluster that the proxy brings itself, used where no backend is configured."""

from __future__ import annotations

from typing import Annotated

from attrs import frozen

from helios_trio.config.keys import key
from helios_trio.config.kinds import DataFolder, Integer


@frozen(kw_only=True)
class EmbeddedSettings:
    """The cluster that is started when there is no [[backends.pools]]."""

    standbys: Annotated[int, Integer(0, 9)] = key(1, "streaming standbys besides the primary", live=False)
    data_dir: DataFolder | None = key(
        None,
        "kept between runs; absent: a folder of the user's own data",
        example="/var/lib/helios",
        live=False,
    )
    bin_dir: DataFolder | None = key(
        None,
        "server programs of another PostgreSQL, versions 12 to 18; absent: those of the wheel",
        example="/usr/lib/postgresql/17/bin",
        live=False,
    )
