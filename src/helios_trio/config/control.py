"""`[control]`: the proxy's own database user, for probes, promotion, set-up and `auth_query`."""

from __future__ import annotations

from attrs import frozen

from helios_trio.config.keys import key
from helios_trio.config.kinds import Name, Password, ReadableFile
from helios_trio.config.secret import Secret, read_secret


@frozen(kw_only=True)
class ControlSettings:
    """The proxy's own database user; `helios setup --print` shows the least privileges it needs."""

    user: Name = key("helios_control", "the name of that user")
    password: Password | None = key(None, "its password", example="${HELIOS_CONTROL_PASSWORD}")
    password_file: ReadableFile | None = key(
        None, "a file whose first line is its password", example="/etc/helios/control"
    )
    database: Name = key("postgres", "the database it connects to")

    def read_password(self) -> Secret | None:
        """The password, from the file if that is where it is; raises OSError if it cannot be read."""
        return read_secret(self.password, self.password_file)
