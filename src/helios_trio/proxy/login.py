"""Who a client is, put together from its socket and start-up packet, and taken through authentication.

Used by: composition.letting_in (makes one from the configuration, again at each reload), proxy.serving (asks it for
every client).
"""

from __future__ import annotations

from attrs import define

from helios_trio.net.frame_stream import FrameStream
from helios_trio.proxy.auth_rules import AuthRules, ClientIdentity
from helios_trio.proxy.auth_secrets import SecretSource
from helios_trio.proxy.authentication import Authenticated, AuthenticationSettings, authenticate
from helios_trio.wire.startup import Replication, StartupMessage


@define
class Login:
    """Rules, secrets and settings of authentication; replaced as a whole by a reload."""

    rules: AuthRules
    secrets: SecretSource
    settings: AuthenticationSettings

    async def __call__(self, stream: FrameStream, startup: StartupMessage) -> Authenticated:
        """Take the client through the method its rules ask for; errors as `proxy.authentication.authenticate`."""
        return await authenticate(
            stream, identity_of(stream, startup), self.rules, self.secrets, self.settings
        )


def identity_of(stream: FrameStream, startup: StartupMessage) -> ClientIdentity:
    """What the client says and what its socket shows."""
    transport = stream.transport
    address = None if transport.is_unix else transport.peer.rpartition(":")[0].strip("[]")
    return ClientIdentity(
        user=startup.user,
        database=startup.database,
        address=address,
        tls=transport.tls,
        replication=startup.replication is Replication.PHYSICAL,
    )
