"""wire.names: reading and replacing names in frames of the extended protocol."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helios_trio.errors import ProtocolViolation
from helios_trio.wire import names
from helios_trio.wire.frontend_messages import PORTAL, STATEMENT, Bind, Close, Describe, Execute, Parse
from helios_trio.wire.layout import Message, to_bytes, to_text

word = st.binary(max_size=10).map(lambda data: to_text(data.replace(b"\0", b"")))
READERS = [names.parse_names, names.bind_names, names.target_name, names.execute_portal]


@given(word, word, word)
def test_parse(name: str, query: str, new: str) -> None:
    """A renamed Parse differs in nothing else."""
    message = Parse(name, query, (23, 0))
    assert names.parse_names(message.body()) == (to_bytes(name), to_bytes(query), message.body()[-10:])
    assert names.rename_parse(message.body(), to_bytes(new)) == Parse(new, query, (23, 0)).encode()


@given(word, word, word)
def test_bind(portal: str, statement: str, new: str) -> None:
    """A renamed Bind differs in nothing else."""
    rest = ((1,), (b"\0\0", None), (0, 1))
    message = Bind(portal, statement, *rest)
    assert names.bind_names(message.body())[:2] == (to_bytes(portal), to_bytes(statement))
    assert names.rename_bind(message.body(), to_bytes(new)) == Bind(portal, new, *rest).encode()


@given(st.sampled_from([Describe, Close]), st.sampled_from([STATEMENT, PORTAL]), word, word)
def test_target(cls: type[Describe | Close], kind: int, name: str, new: str) -> None:
    """A renamed Describe or Close keeps its kind."""
    body = cls(kind, name).body()
    assert names.target_name(body) == (kind, to_bytes(name))
    assert names.rename_target(cls.code, body, to_bytes(new)) == cls(kind, new).encode()


@given(word, st.integers(-(2**31), 2**31 - 1))
def test_execute(portal: str, limit: int) -> None:
    """Portal and row limit."""
    assert names.execute_portal(Execute(portal, limit).body()) == (to_bytes(portal), limit)


@pytest.mark.parametrize(
    ("reader", "cls"),
    [(names.target_name, Describe), (names.execute_portal, Execute)],
)
def test_malformed_bodies_give_the_same_error_as_the_message_classes(
    reader: Callable[[bytes], object], cls: type[Message]
) -> None:
    """Rule 5: the fast readers refuse what the exact ones refuse, in the same words."""

    @given(st.lists(st.sampled_from([b"S", b"P", b"\0", b"x", b"\0\0\0\0"]), max_size=5).map(b"".join))
    def check(body: bytes) -> None:
        if cls is Describe and body[:1] not in (b"S", b"P", b""):
            return
        try:
            cls.decode(body)
        except ProtocolViolation as error:
            with pytest.raises(ProtocolViolation, match=f"^{error.message}$"):
                reader(body)
        else:
            reader(body)

    check()


@given(st.binary(max_size=20), st.sampled_from(READERS))
def test_random_bodies_only_raise_protocol_violation(
    body: bytes, reader: Callable[[bytes], tuple[object, ...]]
) -> None:
    """Rule 5; what is accepted is a part of the body."""
    with suppress(ProtocolViolation):
        assert all(part in body for part in reader(body) if isinstance(part, bytes))


@pytest.mark.parametrize("body", [b"", b"a", b"a\0b"])
def test_unterminated_names_cannot_be_replaced(body: bytes) -> None:
    """Half a string is refused, not guessed at."""
    with pytest.raises(ProtocolViolation, match="invalid string in message"):
        names.rename_bind(body, b"x")
    with pytest.raises(ProtocolViolation, match="invalid string in message"):
        names.parse_names(body)
