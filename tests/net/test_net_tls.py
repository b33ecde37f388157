"""TLS handshakes, contexts and channel binding data."""

from __future__ import annotations

import hashlib
import os
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
import trio
import trio.testing
from certificates import Authority, KeyPair
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.hashes import SHA384

from helios_trio.config.words import ClientTls, SslMode
from helios_trio.errors import ConfigError
from helios_trio.net.certificates import server_end_point
from helios_trio.net.errors import ConnectionLost, TLSFailed
from helios_trio.net.tls import ALPN, ClientTLS, ServerTLS
from helios_trio.net.tls_transport import TLSTransport, start_tls_client, start_tls_server
from helios_trio.net.transport import PlainTransport

PlainPair = tuple[PlainTransport, PlainTransport]
TLSPair = tuple[TLSTransport, TLSTransport]
MakePair = Callable[[ServerTLS, ClientTLS, str | None], Awaitable[TLSPair]]


FATAL_ALERT = b"\x15\x03\x03\x00\x02\x02\x0a"
"""unexpected_message"""


async def all_of(transport: PlainTransport) -> bytes:
    """What the peer sent until it closed, by a reset or in good order."""
    found = b""
    with trio.fail_after(10), suppress(ConnectionLost):
        while data := await transport.receive_some(1000):
            found += data
    return found


def towards_client(pair: KeyPair, mode: ClientTls = ClientTls.REQUIRE, ca: Path | None = None) -> ClientTLS:
    """TLS towards clients with this certificate."""
    return ClientTLS(mode, cert_file=pair.cert_file, key_file=pair.key_file, client_ca_file=ca)


async def test_both_ends_know_what_was_agreed(tls_pair: TLSPair) -> None:
    """Version, protocol name, and the names in the peer's certificate."""
    client, server = tls_pair
    assert client.tls.version == server.tls.version == "TLSv1.3"
    assert client.tls.alpn == server.tls.alpn == ALPN
    assert server.tls.common_names == ("alice",)
    assert server.tls.distinguished_name == "CN=alice"
    assert client.tls.common_names == ("server",)
    assert client.tls.dns_names == ("db.example",)


async def test_both_ends_have_the_same_channel_binding(tls_pair: TLSPair) -> None:
    """tls-server-end-point is the hash of the server's certificate, whichever end asks (RFC 5929)."""
    client, server = tls_pair
    assert client.tls.peer_certificate is not None
    expected = hashlib.sha256(client.tls.peer_certificate).digest()
    assert client.server_end_point() == server.server_end_point() == expected


def test_channel_binding_uses_the_hash_of_the_signature(authority: Authority) -> None:
    """A certificate signed with SHA-384 is hashed with SHA-384."""
    der = authority.issue("strong", digest=SHA384()).der
    assert server_end_point(der) == hashlib.sha384(der).digest()


def test_weak_signature_hashes_are_replaced() -> None:
    """For a SHA-1 signature the hash is SHA-256 (RFC 5929, section 4.1)."""
    der = (Path(__file__).parent / "sha1_certificate.der").read_bytes()
    assert server_end_point(der) == hashlib.sha256(der).digest()


def test_a_signature_without_hash_has_no_channel_binding(tmp_path: Path) -> None:
    """Ed25519 names no hash, so the binding is not defined."""
    signer = Authority(tmp_path, "modern", ed25519.Ed25519PrivateKey.generate())
    assert server_end_point(signer.issue("server").der) is None


@pytest.mark.parametrize("mode", [SslMode.PREFER, SslMode.REQUIRE])
async def test_unverified_modes_accept_any_certificate(
    mode: SslMode, authority: Authority, make_tls_pair: MakePair
) -> None:
    """Without a CA file prefer and require encrypt, and trust whoever answers."""
    ends = await make_tls_pair(ServerTLS(mode), towards_client(authority.issue("server")), "other.example")
    for end in ends:
        end.close()


@pytest.mark.parametrize("mode", [SslMode.REQUIRE, SslMode.VERIFY_CA, SslMode.VERIFY_FULL])
async def test_an_unknown_authority_is_refused(
    mode: SslMode, authority: Authority, tmp_path: Path, make_tls_pair: MakePair
) -> None:
    """With a CA file, require too verifies the chain, as in libpq."""
    other = Authority(tmp_path, "other authority")
    with pytest.raises(ConnectionLost):
        await make_tls_pair(
            ServerTLS(mode, ca_file=other.ca_file),
            towards_client(authority.issue("server", "db.example")),
            "db.example",
        )


async def test_only_verify_full_compares_the_host_name(authority: Authority, make_tls_pair: MakePair) -> None:
    """A good certificate of another host passes verify-ca and not verify-full."""
    server = towards_client(authority.issue("server", "db.example"))
    for end in await make_tls_pair(
        ServerTLS(SslMode.VERIFY_CA, ca_file=authority.ca_file), server, "evil.example"
    ):
        end.close()
    with pytest.raises(ConnectionLost):
        await make_tls_pair(ServerTLS(SslMode.VERIFY_FULL, ca_file=authority.ca_file), server, "evil.example")


async def test_clients_without_certificate(authority: Authority, make_tls_pair: MakePair) -> None:
    """They pass with require, even where a certificate would be looked at, and fail with verify-ca."""
    pair = authority.issue("server")
    client, server = await make_tls_pair(
        ServerTLS(SslMode.REQUIRE), towards_client(pair, ClientTls.REQUIRE, authority.ca_file), "db"
    )
    assert server.tls.peer_certificate is None
    client.close()
    server.close()
    with pytest.raises(ConnectionLost):
        client, _ = await make_tls_pair(
            ServerTLS(SslMode.REQUIRE), towards_client(pair, ClientTls.VERIFY_CA, authority.ca_file), "db"
        )


async def test_garbage_instead_of_a_handshake(plain_pair: PlainPair, authority: Authority) -> None:
    """Rule 5: bytes that are no TLS end the connection with a clear error."""
    left, right = plain_pair
    side = towards_client(authority.issue("server")).current
    assert side is not None
    await left.send_all(b"GET / HTTP/1.0\r\n\r\n")
    with pytest.raises(TLSFailed, match="TLS handshake with right failed"), trio.fail_after(10):
        await start_tls_server(right, side)
    assert await all_of(left) in (b"", FATAL_ALERT)


async def test_a_peer_that_leaves_during_the_handshake(plain_pair: PlainPair, authority: Authority) -> None:
    """Half a ClientHello and the end of the stream is a failed handshake."""
    left, right = plain_pair
    side = towards_client(authority.issue("server")).current
    assert side is not None
    await left.send_all(b"\x16\x03\x01\x02\x00\x01")
    left.close()
    with pytest.raises(TLSFailed), trio.fail_after(10):
        await start_tls_server(right, side)


async def test_a_stalled_handshake_can_be_cancelled(plain_pair: PlainPair, authority: Authority) -> None:
    """Whoever gives up waiting for a silent peer leaves no open socket behind."""
    left, right = plain_pair
    side = towards_client(authority.issue("server")).current
    assert side is not None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(start_tls_server, right, side)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    with trio.fail_after(10):
        assert await left.receive_some(1) == b""


async def test_direct_tls_demands_the_protocol_name(plain_pair: PlainPair, authority: Authority) -> None:
    """A direct TLS connection without ALPN is refused (08P01), as PostgreSQL does."""
    left, right = plain_pair
    side = towards_client(authority.issue("server")).current
    assert side is not None
    anonymous = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anonymous.check_hostname = False
    anonymous.verify_mode = ssl.CERT_NONE

    async def connect() -> None:
        (await start_tls_client(left, anonymous, None)).close()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connect)
            with pytest.raises(TLSFailed, match="without ALPN") as caught:
                await start_tls_server(right, side, require_alpn=True)
    assert caught.value.sqlstate == "08P01"


async def test_certificates_are_reloaded(authority: Authority, make_tls_pair: MakePair) -> None:
    """New files serve the next connection, and reload says whether anything changed."""
    pair = authority.issue("old", file="server")
    server = towards_client(pair)
    assert not server.reload()
    authority.issue("new", file="server")
    os.utime(pair.cert_file, (1, 1))
    assert server.reload()
    client, other = await make_tls_pair(ServerTLS(SslMode.REQUIRE), server, None)
    assert client.tls.common_names == ("new",)
    assert client.server_end_point() == other.server_end_point()
    client.close()
    other.close()


def test_a_bad_certificate_keeps_the_old_one(authority: Authority) -> None:
    """A file that cannot be used is an error naming it, and changes nothing."""
    pair = authority.issue("server")
    server = towards_client(pair)
    before = server.current
    pair.cert_file.write_text("not a certificate")
    with pytest.raises(ConfigError, match=r"server\.crt"):
        server.reload()
    assert server.current is before


@pytest.mark.parametrize(
    ("mode", "given", "missing"),
    [
        (ClientTls.ALLOW, (), "cert_file"),
        (ClientTls.VERIFY_CA, ("cert_file", "key_file"), "client_ca_file"),
        (ClientTls.VERIFY_FULL, ("cert_file", "key_file"), "client_ca_file"),
    ],
)
def test_missing_files_are_named(
    mode: ClientTls, given: tuple[str, ...], missing: str, authority: Authority
) -> None:
    """A mode says which file it lacks."""
    pair = authority.issue("server")
    with pytest.raises(ConfigError, match=missing):
        ClientTLS(mode, **{name: getattr(pair, name) for name in given})


def test_disabled_tls_needs_no_files() -> None:
    """Off means that there is no context, on either side."""
    assert ClientTLS(ClientTls.DISABLE).current is None
    assert ServerTLS(SslMode.DISABLE).context is None


@pytest.mark.parametrize("mode", [SslMode.VERIFY_CA, SslMode.VERIFY_FULL])
def test_verification_needs_authorities(mode: SslMode) -> None:
    """Verifying against nobody is refused when configured, not when connecting."""
    with pytest.raises(ConfigError, match="CA file"):
        ServerTLS(mode)


def test_system_authorities_go_with_host_names_only() -> None:
    """Any certificate of a public authority would pass otherwise; libpq refuses that too."""
    with pytest.raises(ConfigError, match="weak"):
        ServerTLS(SslMode.VERIFY_CA, ca_file=Path("system"))
    context = ServerTLS(SslMode.VERIFY_FULL, ca_file=Path("system")).context
    assert context is not None
    assert context.check_hostname


def test_a_key_with_a_passphrase_is_refused(tmp_path: Path) -> None:
    """It would otherwise stop the process to ask on the terminal."""
    pair = Authority(tmp_path).issue("server")
    from cryptography.hazmat.primitives import serialization as form

    key = form.load_pem_private_key(pair.key_file.read_bytes(), None)
    locked = key.private_bytes(
        form.Encoding.PEM, form.PrivateFormat.PKCS8, form.BestAvailableEncryption(b"pw")
    )
    pair.key_file.write_bytes(locked)
    with pytest.raises(ConfigError, match="passphrase"):
        towards_client(pair)
