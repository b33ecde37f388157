"""Real exchanges of tests/wire/corpus against all of wire: splits, messages, states, mutations."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_exchanges import EXCHANGES, Exchange

from helios_trio.errors import ProtocolViolation
from helios_trio.wire.backend_messages import decode_backend
from helios_trio.wire.codes import Backend, Frontend
from helios_trio.wire.error_fields import ErrorFields
from helios_trio.wire.frames import BACKEND, FRONTEND, Event, Frame, FrameReader
from helios_trio.wire.frontend_messages import (
    PasswordFamily,
    PasswordMessage,
    SASLInitialResponse,
    SASLResponse,
    decode_frontend,
)
from helios_trio.wire.passwords import md5_response, md5_stored
from helios_trio.wire.scram import ServerExchange
from helios_trio.wire.scram_keys import Verifier
from helios_trio.wire.startup import StartupMessage, parse_startup
from helios_trio.wire.states import ClientState, Conversation, ServerState

LIMIT = 1 << 20
named = pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: exchange.name)
CLIENT_AT_FAULT = {"raw_fatal_wrong_state", "raw_copy_unexpected_query"}
PASSWORD_FAMILY: dict[ServerState, PasswordFamily] = {
    ServerState.PROVEN: PasswordMessage,
    ServerState.SASL: SASLResponse,
}


def frames(data: bytes, reader: FrameReader) -> list[Event]:
    reader.feed(data)
    found = list(reader)
    assert reader.rest() == b""
    return found


def client_frames(exchange: Exchange) -> list[Event]:
    return frames(exchange.frames_of(True), FrameReader(LIMIT, LIMIT, FRONTEND))


def server_frames(exchange: Exchange) -> list[Event]:
    return frames(exchange.frames_of(False), FrameReader(LIMIT, LIMIT, BACKEND))


def in_order(exchange: Exchange) -> Iterator[tuple[bool, Frame]]:
    """All frames in the order in which they were complete at the recorder."""
    readers = {True: FrameReader(LIMIT, LIMIT, FRONTEND), False: FrameReader(LIMIT, LIMIT, BACKEND)}
    for from_client, data in exchange.framed():
        readers[from_client].feed(data)
        for event in readers[from_client]:
            assert isinstance(event, Frame)
            yield from_client, event


def test_the_corpus_is_there() -> None:
    """Both directions of every exchange have bytes."""
    assert len(EXCHANGES) >= 15
    assert all(exchange.stream(True) and exchange.stream(False) for exchange in EXCHANGES)


@named
def test_byte_by_byte_gives_the_same_frames(exchange: Exchange) -> None:
    """Rule 3: the most unkind split of all."""
    for data, wanted in (
        (exchange.frames_of(True), client_frames(exchange)),
        (exchange.frames_of(False), server_frames(exchange)),
    ):
        reader, found = FrameReader(LIMIT, LIMIT), []
        for at in range(len(data)):
            reader.feed(data[at : at + 1])
            found.extend(reader)
        assert found == wanted


@named
def test_real_messages_survive_decoding(exchange: Exchange) -> None:
    """What real clients and servers send is understood whole, and written as they wrote it."""
    for packet in exchange.opening():
        assert parse_startup(packet.encode()) == (packet, len(packet.encode()))
    for event in server_frames(exchange):
        assert decode_backend(event.code, event.body).body() == event.body
    conversation, initial = Conversation(), True
    conversation.client_opens(exchange.opening()[-1])
    for from_client, frame in in_order(exchange):
        if not from_client:
            with suppress(ProtocolViolation):
                conversation.server_sends(frame.code, frame.body)
            continue
        family = PASSWORD_FAMILY.get(conversation.server, PasswordMessage)
        if family is SASLResponse and initial:
            family, initial = SASLInitialResponse, False
        assert decode_frontend(frame.code, frame.body, family).body() == frame.body


@named
def test_real_exchanges_are_accepted_by_the_state_tables(exchange: Exchange) -> None:
    """Rule 2: real servers answer as the tables say; where the client was at fault the tables say so too."""
    conversation = Conversation()
    conversation.client_opens(exchange.opening()[-1])
    try:
        for from_client, frame in in_order(exchange):
            (conversation.client_sends if from_client else conversation.server_sends)(frame.code, frame.body)
    except ProtocolViolation as error:
        wording = error.message
    else:
        wording = ""
        assert conversation.server in (ServerState.IDLE, ServerState.TERMINATED)
    assert bool(wording) == (exchange.name in CLIENT_AT_FAULT)


def test_wrong_state_is_named_as_the_server_named_it() -> None:
    """Rule 5: the recorded server refused a PasswordMessage while idle in just these words."""
    exchange = next(found for found in EXCHANGES if found.name == "raw_fatal_wrong_state")
    report = ErrorFields.decode(server_frames(exchange)[-1].body)
    conversation = Conversation(ClientState.READY, ServerState.IDLE)
    with pytest.raises(ProtocolViolation) as caught:
        conversation.client_sends(Frontend.PASSWORD)
    assert caught.value.message == report.message
    assert (caught.value.sqlstate, caught.value.severity) == (report.sqlstate, report.severity)


def test_scram_answers_a_real_client_as_the_real_server_did() -> None:
    """With the server's salt and nonce our exchange gives the recorded messages, byte for byte."""
    frames_by_side = _authentication("psycopg_scram_extended")
    initial, final = frames_by_side[True]
    challenge, outcome = frames_by_side[False][1:3]
    first = SASLInitialResponse.decode(initial)
    nonce, salt, iterations = challenge[4:].split(b",")
    verifier = Verifier.from_password("pencil", b64decode(salt[2:]), int(iterations[2:]))
    assert first.data is not None
    own_nonce = nonce[2:].removeprefix(first.data.rpartition(b"r=")[2])
    exchange = ServerExchange(first.mechanism, verifier, user="scram_user", binding=None, nonce=own_nonce)
    assert exchange.first(first.data) == challenge[4:]
    assert exchange.final(final) == outcome[4:]


def test_md5_answers_a_real_server_as_the_real_client_did() -> None:
    """The recorded salt and password give the recorded answer."""
    frames_by_side = _authentication("psycopg2_md5_simple")
    salt = frames_by_side[False][0][4:]
    response = PasswordMessage.decode(frames_by_side[True][0]).password
    assert md5_response(md5_stored("md5_user", "pencil"), salt) == response


def _authentication(name: str) -> dict[bool, list[bytes]]:
    """Bodies of the Authentication and password messages, by side (True is the client)."""
    exchange = next(found for found in EXCHANGES if found.name == name)
    return {
        True: [event.body for event in client_frames(exchange) if event.code == Frontend.PASSWORD],
        False: [event.body for event in server_frames(exchange) if event.code == Backend.AUTHENTICATION],
    }


@given(st.sampled_from(EXCHANGES), st.booleans(), st.data())
def test_mutated_streams_only_raise_protocol_violation(
    exchange: Exchange, from_client: bool, data: st.DataObject
) -> None:
    """Rule 5: real bytes with some changed, removed or put in neither crash nor grow memory."""
    stream = bytearray(exchange.stream(True) if from_client else exchange.frames_of(False))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(stream)))
        stream[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    conversation = Conversation(ClientState.READY, ServerState.IDLE)
    with suppress(ProtocolViolation):
        if from_client:
            parsed = parse_startup(stream)
            del stream[: parsed[1] if parsed else len(stream)]
        reader = FrameReader(LIMIT, 200, FRONTEND if from_client else BACKEND)
        reader.feed(stream)
        for event in reader:
            if isinstance(event, Frame):
                _judge(conversation, from_client, event)
        assert len(reader.rest()) <= 205


def _judge(conversation: Conversation, from_client: bool, frame: Frame) -> None:
    """Decode a frame and walk the states with it; both may refuse it."""
    decode = decode_frontend if from_client else decode_backend
    sends = conversation.client_sends if from_client else conversation.server_sends
    with suppress(ProtocolViolation):
        assert decode(frame.code, frame.body).body() == frame.body
    with suppress(ProtocolViolation):
        sends(frame.code, frame.body)


def test_the_corpus_has_every_message_that_a_server_sends_without_gss() -> None:
    """What is recorded is not just the easy part."""
    seen = {event.code for exchange in EXCHANGES for event in server_frames(exchange)}
    codes = {code for name, code in vars(Backend).items() if name.isupper()}
    assert seen == codes
    sent = {event.code for exchange in EXCHANGES for event in client_frames(exchange)}
    assert sent == {code for name, code in vars(Frontend).items() if name.isupper()}
    assert any(isinstance(exchange.opening()[0], StartupMessage) for exchange in EXCHANGES)
