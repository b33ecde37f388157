"""wire.frames: cutting streams into frames."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helios_trio.errors import ProtocolViolation
from helios_trio.wire.codes import Backend, Frontend
from helios_trio.wire.frames import (
    AUTHENTICATING,
    BACKEND,
    FRONTEND,
    HEADER,
    Frame,
    FrameChunk,
    FrameReader,
    FrameStart,
    encode_frame,
)

MEBIBYTE = 1 << 20
frames = st.lists(st.builds(Frame, st.sampled_from([*b"QPBDS"]), st.binary(max_size=40)), max_size=8)


def joined(events: list[object]) -> list[object]:
    """The events, with the pieces of each large frame put together."""
    found: list[object] = []
    for event in events:
        if isinstance(event, FrameChunk) and isinstance(found[-1], FrameChunk):
            event = FrameChunk(found.pop().data + event.data, event.last)
        found.append(event)
    return found


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    """The data cut at these places."""
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


def read_all(reader: FrameReader, pieces: list[bytes]) -> tuple[list[object], str]:
    """All events for these pieces, and the error that ended them."""
    events: list[object] = []
    try:
        for piece in pieces:
            reader.feed(piece)
            events.extend(reader)
    except ProtocolViolation as error:
        return joined(events), error.message
    return joined(events), ""


@given(frames, st.lists(st.integers(0, 500), max_size=12), st.sampled_from([0, 7, 1000]))
def test_any_split_gives_the_same_frames(wanted: list[Frame], cuts: list[int], stream_over: int) -> None:
    """Rule 3: frames may be split or joined anywhere by the network."""
    data = b"".join(encode_frame(frame.code, frame.body) for frame in wanted)
    whole: list[object] = []
    for frame in wanted:
        if len(frame.body) > stream_over:
            whole += [FrameStart(frame.code, len(frame.body)), FrameChunk(frame.body, True)]
        else:
            whole.append(frame)
    reader = FrameReader(1000, stream_over, FRONTEND)
    assert read_all(reader, split(data, cuts)) == (whole, "")
    assert reader.rest() == b""


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=8))
def test_random_bytes_give_the_same_events_and_error_for_any_split(data: bytes, cuts: list[int]) -> None:
    """Rule 5: what is no frame is refused, at the same place however it arrives."""
    whole = FrameReader(50, 10, FRONTEND)
    parts = FrameReader(50, 10, FRONTEND)
    assert read_all(parts, split(data, cuts)) == read_all(whole, [data])


@pytest.mark.parametrize("length", [-(2**31), -1, 0, 3, 20_000, 2**31 - 1])
def test_absurd_lengths_are_refused(length: int) -> None:
    """Rule 5: negative or absurd length."""
    reader = FrameReader(10_000, 10_000)
    reader.feed(HEADER.pack(Frontend.QUERY, length))
    for _ in range(2):  # the stream stays unusable
        with pytest.raises(ProtocolViolation, match="invalid message length") as caught:
            reader.next_event()
        assert caught.value.sqlstate == "08P01"


def test_unknown_type_byte_is_named_as_postgresql_does() -> None:
    """Rule 5: unknown message type, refused from the first byte."""
    reader = FrameReader(10_000, 10_000, FRONTEND)
    reader.feed(b"\0")
    with pytest.raises(ProtocolViolation, match=r"^invalid frontend message type 0$"):
        reader.next_event()
    server = FrameReader(10_000, 10_000, BACKEND)
    server.feed(b"?")
    with pytest.raises(ProtocolViolation, match=r"^invalid backend message type 63$"):
        server.next_event()


@pytest.mark.parametrize(
    ("sender", "code", "size"),
    [(AUTHENTICATING, Frontend.PASSWORD, 65_535), (FRONTEND, Frontend.SYNC, 10_000)],
)
def test_limits_depend_on_the_sender(sender: object, code: int, size: int) -> None:
    """Rule 5: bounded memory before authentication, small limits for small messages."""
    reader = FrameReader(1 << 30, 1 << 30, sender)
    reader.feed(HEADER.pack(code, size + 4))
    assert reader.next_event() is None
    reader = FrameReader(1 << 30, 1 << 30, sender)
    reader.feed(HEADER.pack(code, size + 5))
    with pytest.raises(ProtocolViolation):
        reader.next_event()


def test_limits_change_when_the_client_is_authenticated() -> None:
    """`become` holds from the next frame on."""
    reader = FrameReader(65_535, 1 << 20, AUTHENTICATING)
    frame = encode_frame(Frontend.QUERY, bytes(100_000))
    reader.become(FRONTEND, 1 << 30)
    reader.feed(frame)
    assert reader.next_event() == Frame(Frontend.QUERY, bytes(100_000))


def test_large_frames_stream_with_bounded_memory() -> None:
    """Rule 3: a frame of 256 MiB goes through in pieces."""
    size = 256 * MEBIBYTE
    reader = FrameReader(1 << 30, 8192, BACKEND)
    piece = bytes(MEBIBYTE)
    reader.feed(HEADER.pack(Backend.DATA_ROW, size + 4))
    assert reader.next_event() == FrameStart(Backend.DATA_ROW, size)
    tracemalloc.start()
    try:
        for _ in range(size // MEBIBYTE):
            reader.feed(piece)
            chunk = reader.next_event()
            assert isinstance(chunk, FrameChunk)
            assert len(chunk.data) == MEBIBYTE
            assert chunk.last is (reader.missing == 0)
            assert reader.next_event() is None
        assert chunk.last
        assert tracemalloc.get_traced_memory()[1] < 8 * MEBIBYTE
    finally:
        tracemalloc.stop()


def test_byte_by_byte_does_not_hold_more_than_the_frame() -> None:
    """Consumed bytes are given back although the buffer is never empty."""
    reader = FrameReader(1 << 20, 1 << 20)
    data = encode_frame(Frontend.QUERY, bytes(50)) * 2000
    count = 0
    for at in range(len(data)):
        reader.feed(data[at : at + 1])
        count += sum(1 for _ in reader)
        assert len(reader.rest()) <= 55
    assert count == 2000


def test_the_rest_is_handed_over() -> None:
    """Whoever takes the stream over gets the unread bytes, once."""
    reader = FrameReader(100, 100)
    reader.feed(encode_frame(Frontend.SYNC, b"") + b"Q\0\0")
    assert reader.next_event() == Frame(Frontend.SYNC, b"")
    assert reader.rest() == b"Q\0\0"
    assert reader.take_rest() == b"Q\0\0"
    assert reader.rest() == b""


def test_bodies_that_fit_no_length_field_are_refused() -> None:
    """The length is an int32."""

    class Huge(bytes):
        def __len__(self) -> int:
            return 2**31

    with pytest.raises(ValueError, match="does not fit"):
        encode_frame(Frontend.QUERY, Huge())
