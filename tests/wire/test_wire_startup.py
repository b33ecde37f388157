"""wire.startup and wire.options: the packets that open a connection."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helios_trio.errors import HeliosError, NotAuthorised, ProtocolViolation
from helios_trio.wire.backend_messages import NegotiateProtocolVersion, error_response
from helios_trio.wire.codes import GSSENC_REQUEST, PROTOCOL_3_0, PROTOCOL_3_2, SSL_REQUEST
from helios_trio.wire.options import parse_options, split_options
from helios_trio.wire.startup import (
    MAX_STARTUP_PACKET,
    CancelRequest,
    GSSENCRequest,
    Replication,
    SSLRequest,
    StartupMessage,
    StartupPacket,
    check_version,
    looks_like_tls,
    negotiate,
    parse_bool,
    parse_startup,
    startup_error,
)

word = st.binary(max_size=15).map(lambda data: data.replace(b"\0", b""))
startups = st.builds(
    StartupMessage,
    st.sampled_from([PROTOCOL_3_0, PROTOCOL_3_2, PROTOCOL_3_0 + 9999]),
    st.lists(st.tuples(word.filter(bool), word), max_size=6).map(tuple),
)
int32 = st.integers(-(2**31), 2**31 - 1)
packets = (
    startups
    | st.builds(SSLRequest)
    | st.builds(GSSENCRequest)
    | st.builds(CancelRequest, int32, st.binary(min_size=1, max_size=256))
)


def startup(*parameters: tuple[bytes, bytes], version: int = PROTOCOL_3_0) -> StartupMessage:
    return StartupMessage(version, parameters)


@given(packets, st.binary(max_size=10))
def test_packets_come_back_and_what_follows_is_left(packet: StartupPacket, following: bytes) -> None:
    """encode and parse are inverse; bytes of the next message are not taken."""
    data = packet.encode()
    assert parse_startup(data + following) == (packet, len(data))


@given(packets, st.data())
def test_unfinished_packets_wait(packet: StartupPacket, data: st.DataObject) -> None:
    """Rule 5: an unfinished start-up is neither accepted nor refused, however it is split."""
    whole = packet.encode()
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert parse_startup(whole[:cut]) is None
    assert parse_startup(bytearray(whole[:cut])) is None


@given(st.binary(max_size=80))
def test_random_bytes_are_refused_or_parsed_without_loss(data: bytes) -> None:
    """Rule 5: no other error than ProtocolViolation."""
    body = data[4:]
    for attempt in (data, len(data).to_bytes(4, "big") + body):
        try:
            parsed = parse_startup(attempt)
        except ProtocolViolation:
            continue
        if parsed and isinstance(parsed[0], StartupMessage) and parsed[0].version >> 16 == 3:
            assert parsed[0].encode() == attempt[: parsed[1]]


@pytest.mark.parametrize("length", [-1, 0, 4, 7, MAX_STARTUP_PACKET + 5, 0x50555420])
def test_absurd_lengths_are_refused_at_once(length: int) -> None:
    """Rule 5: bounded memory before authentication; nothing is waited for."""
    with pytest.raises(ProtocolViolation, match="invalid length of startup packet"):
        parse_startup((length & 0xFFFFFFFF).to_bytes(4, "big"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"user",
        b"user\0",
        b"user\0x",
        b"user\0x\0",
        b"user\0\0",
        b"user\0x\0\0y",
        b"\0\0",
        b"a\0b\0\0c\0d\0\0",
    ],
)
def test_layouts_without_terminator_are_refused(body: bytes) -> None:
    """ProcessStartupPacket: "expected terminator as last byte"."""
    packet = (8 + len(body)).to_bytes(4, "big") + PROTOCOL_3_0.to_bytes(4, "big") + body
    with pytest.raises(ProtocolViolation, match="expected terminator as last byte"):
        parse_startup(packet)


@pytest.mark.parametrize(
    ("size", "wording"), [(0, "cancel key"), (257, "cancel key"), (-4, "cancel request packet")]
)
def test_cancel_secrets_are_bounded(size: int, wording: str) -> None:
    """Protocol 3.2 has secrets of up to 256 bytes; none at all is no secret."""
    packet = CancelRequest(1, bytes(max(size, 0))).encode()
    packet = (12 + size).to_bytes(4, "big") + packet[4 : 12 + size]
    with pytest.raises(ProtocolViolation, match=f"invalid length of {wording}"):
        parse_startup(packet)


def test_parameters_are_kept_as_bytes_and_readable_as_text() -> None:
    """The encoding is not known before start-up, and may be none that is valid."""
    message = startup((b"user", "ü".encode("latin-1")), (b"DateStyle", b"ISO"), (b"DateStyle", b"SQL"))
    parsed = parse_startup(message.encode())
    assert parsed is not None
    assert parsed[0] == message
    assert message.user.encode("utf-8", "surrogateescape") == b"\xfc"
    assert message.text("DateStyle") == "SQL"
    assert message.get(b"nothing") is None


def test_database_defaults_to_the_user() -> None:
    """As in PostgreSQL, also where the database is given empty."""
    assert startup((b"user", b"u")).database == "u"
    assert startup((b"user", b"u"), (b"database", b"")).database == "u"
    assert startup((b"user", b"u"), (b"database", b"d")).database == "d"
    assert startup((b"user", b"u"), (b"replication", b"true")).database == ""


@pytest.mark.parametrize("parameters", [(), ((b"user", b""),), ((b"database", b"d"),)])
def test_a_user_must_be_named(parameters: tuple[tuple[bytes, bytes], ...]) -> None:
    """28000, in PostgreSQL's words."""
    with pytest.raises(NotAuthorised, match="no PostgreSQL user name specified in startup packet") as caught:
        _ = startup(*parameters).user
    assert caught.value.sqlstate == "28000"


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (b"true", Replication.PHYSICAL),
        (b"on", Replication.PHYSICAL),
        (b"YES", Replication.PHYSICAL),
        (b"1", Replication.PHYSICAL),
        (b"database", Replication.LOGICAL),
        (b"off", Replication.OFF),
        (b"0", Replication.OFF),
    ],
)
def test_replication(value: bytes, wanted: Replication) -> None:
    """Walsenders are told from ordinary sessions."""
    assert startup((b"user", b"u"), (b"replication", value)).replication is wanted


@pytest.mark.parametrize("value", [b"", b"o", b"maybe", b"Database", b"2"])
def test_replication_that_is_no_boolean(value: bytes) -> None:
    """22023 with PostgreSQL's hint."""
    with pytest.raises(HeliosError, match='invalid value for parameter "replication"') as caught:
        _ = startup((b"replication", value)).replication
    assert (caught.value.sqlstate, caught.value.severity) == ("22023", "FATAL")


def test_settings_leave_out_what_is_no_setting() -> None:
    """The last value of a name counts."""
    message = startup(
        (b"user", b"u"),
        (b"database", b"d"),
        (b"options", b"-c a=b"),
        (b"replication", b"off"),
        (b"_pq_.x", b"1"),
        (b"application_name", b"one"),
        (b"application_name", b"two"),
    )
    assert message.settings() == {"application_name": "two"}
    assert message.protocol_options == ("_pq_.x",)


@pytest.mark.parametrize(
    ("version", "newest", "spoken", "told"),
    [
        (PROTOCOL_3_0, PROTOCOL_3_2, PROTOCOL_3_0, None),
        (PROTOCOL_3_2, PROTOCOL_3_2, PROTOCOL_3_2, None),
        (PROTOCOL_3_0 + 9999, PROTOCOL_3_2, PROTOCOL_3_2, NegotiateProtocolVersion(PROTOCOL_3_2, ())),
        (PROTOCOL_3_2, PROTOCOL_3_0, PROTOCOL_3_0, NegotiateProtocolVersion(PROTOCOL_3_0, ())),
    ],
)
def test_newer_minor_versions_are_negotiated_down(
    version: int, newest: int, spoken: int, told: NegotiateProtocolVersion | None
) -> None:
    """NegotiateProtocolVersion is only sent where there is something to say."""
    assert negotiate(startup(version=version), newest) == (spoken, told)


def test_unknown_protocol_options_are_reported() -> None:
    """The version asked for stays; the client learns which options were not recognised."""
    found = negotiate(startup((b"_pq_.a", b"1"), (b"_pq_.b", b"")))
    assert found == (PROTOCOL_3_0, NegotiateProtocolVersion(PROTOCOL_3_0, ("_pq_.a", "_pq_.b")))


@pytest.mark.parametrize(
    ("version", "shown"), [(2 << 16, "2.0"), (4 << 16 | 1, "4.1"), (SSL_REQUEST, "1234.5679"), (0, "0.0")]
)
def test_other_major_versions_are_refused(version: int, shown: str) -> None:
    """Rule 5: wrong protocol version, with the code PostgreSQL uses."""
    with pytest.raises(
        ProtocolViolation, match=f"unsupported frontend protocol {shown}: server supports"
    ) as caught:
        check_version(version)
    assert caught.value.sqlstate == "0A000"
    check_version(PROTOCOL_3_2 + 1)


def test_clients_of_protocol_2_get_an_error_they_can_read() -> None:
    """Byte for byte what PostgreSQL 18 sends them; newer ones get an ErrorResponse."""
    with pytest.raises(ProtocolViolation) as caught:
        check_version(2 << 16)
    fields = caught.value.fields()
    wanted = b"EFATAL:  unsupported frontend protocol 2.0: server supports 3.0 to 3.2\n\0"
    assert startup_error(2 << 16, fields) == wanted
    assert startup_error(4 << 16, fields) == error_response(fields)


def test_parameters_of_other_major_versions_are_not_interpreted() -> None:
    """Only the version can be judged, whatever follows it."""
    assert parse_startup(b"\0\0\0\x0a\0\x02\0\0zz") == (StartupMessage(2 << 16, ()), 10)


def test_tls_is_told_from_a_packet() -> None:
    """Direct TLS begins with a handshake record."""
    assert looks_like_tls(0x16)
    assert not looks_like_tls(SSLRequest().encode()[0])
    assert GSSENCRequest().encode()[4:] == GSSENC_REQUEST.to_bytes(4, "big")


def test_zero_bytes_cannot_be_smuggled_in() -> None:
    """A value with a zero byte would become another parameter."""
    for parameter in ((b"", b"x"), (b"a\0", b"x"), (b"a", b"x\0options\0y")):
        with pytest.raises(ValueError, match="start-up parameter"):
            startup(parameter).encode()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("t", True), ("TRUE", True), ("y", True), ("on", True), ("n", False), ("of", False), ("fa", False)]
    + [(text, None) for text in ("", "o", "x", "truee", "10")],
)
def test_booleans(text: str, wanted: bool | None) -> None:
    """Unique prefixes, in any case."""
    assert parse_bool(text) is wanted


@pytest.mark.parametrize(
    ("text", "settings", "unknown"),
    [
        ("", {}, ()),
        ("-c geqo=off", {"geqo": "off"}, ()),
        ("-cgeqo=off  --work-mem=1MB\n", {"geqo": "off", "work_mem": "1MB"}, ()),
        ("-c a=1 -c a=2", {"a": "2"}, ()),
        (r"-c search_path=a\ b\\,c", {"search_path": r"a b\,c"}, ()),
        ("-c x= --y==z", {"x": "", "y": "=z"}, ()),
        ("-e -c", {}, ("-e", "-c")),
        ("--work-mem -c geqo plain", {}, ("--work-mem", "-c geqo", "plain")),
        ("--=1", {}, ("--=1",)),
    ],
)
def test_options(text: str, settings: dict[str, str], unknown: tuple[str, ...]) -> None:
    """pg_split_opts and process_postgres_switches."""
    found = parse_options(text)
    assert (found.settings, found.unknown) == (settings, unknown)


@given(st.lists(st.text(min_size=1, max_size=8), max_size=5))
def test_escaped_words_come_back(words: list[str]) -> None:
    """A backslash keeps any character."""
    text = " ".join("".join("\\" + character for character in word) for word in words)
    assert split_options(text) == words
