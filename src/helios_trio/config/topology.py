"""`[topology]`: who knows which server is primary."""

from __future__ import annotations

from typing import Annotated

from attrs import frozen

from helios_trio.config.keys import key, table
from helios_trio.config.kinds import Name, Password, ReadableFile, Seconds, Texts
from helios_trio.config.secret import Secret, read_secret
from helios_trio.config.words import TopologyProvider, TopologyProviderWord

#: Where Patroni's REST API listens unless told otherwise.
PATRONI_PORT = 8008


@frozen(kw_only=True)
class PatroniSettings:
    """How Patroni is asked, where it is the provider. Its members are backends by address or by name."""

    urls: Annotated[tuple[str, ...], Texts()] = key(
        (),
        "REST API of some members, asked in this order until one answers; none: http://HOST:8008 of each backend",
        example=["https://10.0.0.1:8008", "https://10.0.0.2:8008"],
        live=False,
    )
    interval: Seconds = key(0.5, "from one question to the next", live=False)
    timeout: Seconds = key(1.0, "how long a member has to answer before the next one is asked", live=False)
    user: Name | None = key(
        None, "user of the REST API (restapi.authentication in Patroni)", example="helios", live=False
    )
    password: Password | None = key(None, "its password", example="${PATRONI_PASSWORD}", live=False)
    password_file: ReadableFile | None = key(
        None, "a file whose first line is its password", example="/etc/helios/patroni", live=False
    )
    ca_file: ReadableFile | None = key(
        None,
        "the CAs that may have signed the members' certificates, PEM; absent: those of the system",
        example="patroni-ca.crt",
        live=False,
    )
    cert_file: ReadableFile | None = key(
        None, "certificate shown to members, PEM", example="client.crt", live=False
    )
    key_file: ReadableFile | None = key(None, "its private key, PEM", example="client.key", live=False)

    def read_password(self) -> Secret | None:
        """The password, from the file if that is where it is; raises OSError if it cannot be read."""
        return read_secret(self.password, self.password_file)


@frozen(kw_only=True)
class TopologySettings:
    """Who knows which server is primary."""

    provider: TopologyProviderWord = key(
        TopologyProvider.POSTGRES,
        "postgres: the servers are asked; patroni: its REST API is; manual: an operator says so (POST "
        "/api/v1/failover/primary). With the latter two the proxy never promotes, and roles of backends are ignored, "
        "but that with manual an active one is the primary until another is set",
        live=False,
    )
    patroni: PatroniSettings = table(PatroniSettings)

    @property
    def promotes(self) -> bool:
        """Whether the proxy may promote a standby; otherwise somebody else does, and it follows."""
        return self.provider is TopologyProvider.POSTGRES
