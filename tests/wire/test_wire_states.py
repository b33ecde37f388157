"""wire.states: which message may come when."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helios_trio.errors import ProtocolViolation
from helios_trio.wire.codes import Backend, Frontend
from helios_trio.wire.startup import CancelRequest, SSLRequest, StartupMessage
from helios_trio.wire.state_tables import CLIENT, SERVER
from helios_trio.wire.states import ClientState, Conversation, ServerState

OK = b"\0\0\0\0"
SIMPLE = ["Z", "IZ", "CZ", "TDDCZ", "TCTDCZ", "CTDEZ", "EZ", "HddcCZ", "HdEZ", "TDNCCZ"]
EXTENDED = [("P", "1"), ("B", "2"), ("DS", "tT"), ("DS", "tn"), ("DP", "T"), ("DP", "n"), ("C", "3")]
EXECUTE = [("E", "DDC"), ("E", "DDs"), ("E", "C"), ("E", "I"), ("E", "HdcC"), ("E", "DNDC")]
Step = tuple[str, str]
"""A client's message, with a Describe's kind, and its answers."""


def ready() -> Conversation:
    """A conversation after a start-up without password."""
    conversation = Conversation()
    conversation.client_opens(StartupMessage(3 << 16, ()))
    conversation.server_sends(Backend.AUTHENTICATION, OK)
    replies(conversation, "SKZ")
    return conversation


def replies(conversation: Conversation, codes: str) -> None:
    for code in codes:
        conversation.server_sends(ord(code))


def requests(conversation: Conversation, codes: str) -> None:
    for code in codes:
        conversation.client_sends(ord(code), b"S")


def batch(operations: list[Step], failing: int | None) -> list[Step]:
    """An extended request, in which one operation fails or none."""
    if failing is None or failing >= len(operations):
        return [*operations, ("S", "Z")]
    skipped = [(sent, "") for sent, _ in operations[failing + 1 :]]
    return [*operations[:failing], (operations[failing][0], "E"), *skipped, ("S", "Z")]


units = st.one_of(
    st.sampled_from(SIMPLE).map(lambda answer: [("Q", answer)]),
    st.sampled_from(["VZ", "EZ"]).map(lambda answer: [("F", answer)]),
    st.builds(
        batch, st.lists(st.sampled_from(EXTENDED + EXECUTE), max_size=6), st.none() | st.integers(0, 5)
    ),
    st.sampled_from([[("d", "")], [("c", "")], [("f", "")], [("H", "")], [("S", "EZ")]]),
)


@given(st.lists(units, max_size=6), st.data())
def test_legal_conversations_are_accepted_however_far_the_client_runs_ahead(
    script: list[list[Step]], data: st.DataObject
) -> None:
    """Rule 2: replies come in order, requests may be pipelined to any depth."""
    conversation = ready()
    steps = [step for unit in script for step in unit]
    sent = 0
    for at, (_, answers) in enumerate(steps):
        ahead = data.draw(st.integers(at + 1, len(steps)))
        for request, _ in steps[sent:ahead]:
            conversation.client_sends(ord(request[0]), request[1:].encode())
        sent = max(sent, ahead)
        replies(conversation, answers)
    assert (conversation.client, conversation.server) == (ClientState.READY, ServerState.IDLE)


@given(st.lists(units, max_size=4), st.sampled_from([*b"RKZ123CDEGHIWVTtns"]))
def test_what_nobody_asked_for_is_refused(script: list[list[Step]], unasked: int) -> None:
    """When all requests are answered only asynchronous messages and errors may come."""
    conversation = ready()
    for request, answers in (step for unit in script for step in unit):
        conversation.client_sends(ord(request[0]), request[1:].encode())
        replies(conversation, answers)
    replies(conversation, "NSA")
    if unasked != Backend.ERROR_RESPONSE:
        with pytest.raises(ProtocolViolation):
            conversation.server_sends(unasked)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 255), st.binary(max_size=5)), max_size=40))
def test_random_messages_only_raise_protocol_violation(messages: list[tuple[bool, int, bytes]]) -> None:
    """Rule 5: no sequence of messages crashes or hangs."""
    conversation = ready()
    for from_client, code, body in messages:
        with suppress(ProtocolViolation):
            (conversation.client_sends if from_client else conversation.server_sends)(code, body)


@pytest.mark.parametrize(
    ("sent", "answered", "refused"),
    [
        ("Q", "T", "T"),
        ("Q", "E", "C"),
        ("Q", "", "D"),
        ("Q", "", "1"),
        ("PBE", "2", ""),
        ("PBE", "12", "T"),
        ("PBE", "12DCC", ""),
        ("PSPS", "E1", ""),
        ("P", "EZ", ""),
        ("QQ", "CZZC", ""),
        ("F", "VV", ""),
        ("Q", "GC", ""),
        ("Q", "GZ", ""),
        ("Q", "HdC", ""),
        ("Q", "Hc", "d"),
        ("DD", "tt", ""),
    ],
)
def test_answers_out_of_order_are_refused(sent: str, answered: str, refused: str) -> None:
    """A server that answers otherwise than asked is not understood any more."""
    conversation = ready()
    requests(conversation, sent)
    *legal, last = answered + refused
    with pytest.raises(ProtocolViolation, match="unexpected backend message"):
        replies(conversation, "".join(legal) + last)


def test_start_up_with_every_kind_of_authentication() -> None:
    """Each method has its own order of messages."""
    for subtypes in ([0], [3, 0], [5, 0], [10, 11, 12, 0], [7, 8, 8, 0], [9, 8, 0]):
        conversation = Conversation()
        conversation.client_opens(SSLRequest())
        conversation.client_opens(StartupMessage(3 << 16, ()))
        for subtype in subtypes:
            assert conversation.client is ClientState.AUTHENTICATION
            conversation.server_sends(Backend.AUTHENTICATION, subtype.to_bytes(4, "big"))
            if subtype not in (0, 12):
                conversation.client_sends(Frontend.PASSWORD)
        assert conversation.client is ClientState.READY
        assert conversation.server is ServerState.STARTING
        replies(conversation, "SKZ")


@pytest.mark.parametrize("subtypes", [[10, 0], [11], [12], [3, 3], [0, 0], [5, 11], [4], []])
def test_authentication_out_of_order_is_refused(subtypes: list[int]) -> None:
    """A server cannot skip its own proof, nor ask twice."""
    conversation = Conversation()
    conversation.client_opens(StartupMessage(3 << 16, ()))
    bodies = [subtype.to_bytes(4, "big") for subtype in subtypes] or [b"\0"]
    for body in bodies[:-1]:
        conversation.server_sends(Backend.AUTHENTICATION, body)
    with pytest.raises(ProtocolViolation):
        conversation.server_sends(Backend.AUTHENTICATION, bodies[-1])


def test_reports_come_only_after_authentication() -> None:
    """Rule 3 of the tables: before, only notices."""
    conversation = Conversation()
    conversation.client_opens(StartupMessage(3 << 16, ()))
    replies(conversation, "vN")
    for code in b"SAKZ":
        with pytest.raises(ProtocolViolation):
            conversation.server_sends(code)


@pytest.mark.parametrize(
    ("subtype", "wording"),
    [(3, "expected password response"), (10, "expected SASL response"), (7, "expected GSS response")],
)
def test_anything_but_a_password_is_refused_before_authentication(subtype: int, wording: str) -> None:
    """Rule 5: message in the wrong state."""
    conversation = Conversation()
    conversation.client_opens(StartupMessage(3 << 16, ()))
    conversation.server_sends(Backend.AUTHENTICATION, subtype.to_bytes(4, "big"))
    for code in CLIENT[ClientState.READY]:
        with pytest.raises(ProtocolViolation, match=f"^{wording}, got message type {code}$"):
            conversation.client_sends(code)


@pytest.mark.parametrize(
    ("before", "code", "wording"),
    [
        ("", "p", "invalid frontend message type 112"),
        ("", "\0", "invalid frontend message type 0"),
        ("QG", "Q", "unexpected message type 0x51 during COPY from stdin"),
        ("QG", "X", "unexpected message type 0x58 during COPY from stdin"),
        ("QW", "Q", 'invalid standby message type "Q"'),
    ],
)
def test_messages_in_the_wrong_state_are_named_as_postgresql_does(
    before: str, code: str, wording: str
) -> None:
    """Rule 5: 08P01."""
    conversation = ready()
    for step in before:
        if step == "Q":
            conversation.client_sends(Frontend.QUERY)
        else:
            conversation.server_sends(ord(step))
    with pytest.raises(ProtocolViolation, match=f"^{wording}$") as caught:
        conversation.client_sends(ord(code))
    assert caught.value.sqlstate == "08P01"


@pytest.mark.parametrize("ahead", ["SdcS", "dScS", "dSHScS", "cS"])
@pytest.mark.parametrize("early", [True, False])
def test_syncs_during_copy_in_are_not_answered(ahead: str, early: bool) -> None:
    """Rule 17: the server ignores Sync and Flush between CopyInResponse and the end of the COPY."""
    conversation = ready()
    requests(conversation, "PBE" + (ahead if early else ""))
    replies(conversation, "12G")
    requests(conversation, "" if early else ahead)
    replies(conversation, "CZ")
    assert conversation.server is ServerState.IDLE
    with pytest.raises(ProtocolViolation):
        replies(conversation, "Z")


@pytest.mark.parametrize("answered", ["EZ", "EZZ"])
def test_a_sync_sent_while_copy_fails_may_be_answered_or_not(answered: str) -> None:
    """Rule 17: from outside it cannot be told whether the server read it before the failure."""
    conversation = ready()
    requests(conversation, "PBES")
    replies(conversation, "12G")
    requests(conversation, "dSdcS")
    replies(conversation, answered)
    requests(conversation, "Q")
    replies(conversation, "TDCZ")
    assert conversation.server is ServerState.IDLE


def test_copy_data_after_a_failed_copy_is_ignored() -> None:
    """A client may still be sending when the error reaches it."""
    conversation = ready()
    requests(conversation, "Q")
    replies(conversation, "GEZ")
    requests(conversation, "dddfQ")
    replies(conversation, "CZ")
    assert conversation.server is ServerState.IDLE


def test_a_query_sent_ahead_into_copy_in_is_refused() -> None:
    """The server will read it as a part of the COPY."""
    conversation = ready()
    requests(conversation, "QdQ")
    with pytest.raises(ProtocolViolation, match="unexpected message QUERY during COPY from stdin"):
        replies(conversation, "G")


def test_after_an_error_all_is_ignored_up_to_sync() -> None:
    """Message flow, extended query: also a Query is skipped, sent before or after the error is known."""
    conversation = ready()
    requests(conversation, "PQB")
    replies(conversation, "E")
    requests(conversation, "QEFDSQ")
    assert conversation.server is ServerState.RESULT
    replies(conversation, "ZCZ")
    assert conversation.server is ServerState.IDLE


def test_both_ends_of_copy_both() -> None:
    """Streaming replication: either side may end first; a keepalive may follow the server's end."""
    for script in ("c<c<d", "<cc<d"):
        conversation = ready()
        requests(conversation, "Q")
        replies(conversation, "W")
        requests(conversation, "dd")
        replies(conversation, "dd")
        for step in script.replace("<c", "1").replace("<d", "2"):
            if step == "c":
                requests(conversation, "c")
            else:
                replies(conversation, "cd"[int(step) - 1])
        replies(conversation, "CCZ")
        assert (conversation.client, conversation.server) == (ClientState.READY, ServerState.IDLE)


def test_nothing_comes_after_the_end() -> None:
    """Terminate, a cancel request and an error during start-up end both sides."""
    terminated = ready()
    requests(terminated, "X")
    cancelled = Conversation()
    cancelled.client_opens(CancelRequest(1, b"1234"))
    failed = Conversation()
    failed.client_opens(StartupMessage(3 << 16, ()))
    replies(failed, "E")
    for conversation in (terminated, cancelled, failed):
        with pytest.raises(ProtocolViolation):
            conversation.client_sends(Frontend.QUERY)
        with pytest.raises(ProtocolViolation):
            conversation.server_sends(Backend.READY_FOR_QUERY)
        with pytest.raises(ProtocolViolation):
            conversation.client_opens(SSLRequest())


def test_a_long_copy_sent_ahead_is_remembered_in_bounded_space() -> None:
    """Rule 16: data sent before the server answered COPY does not pile up."""
    conversation = ready()
    requests(conversation, "Q" + "d" * 1000)
    assert len(conversation._waiting) == 1


def test_every_state_of_the_tables_can_be_reached() -> None:
    """No row of the tables is dead: each is the target of another, or the start of its request."""
    starts = {ServerState.AUTHENTICATION, ServerState.RESULT, ServerState.ENDING, ServerState.COPY_ENDED}
    for rows in SERVER.values():
        reached = {after for row in rows.values() for after in row.values()} | starts
        assert set(rows) <= reached
