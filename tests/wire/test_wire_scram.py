"""wire.scram: the exchanges of both roles."""

from __future__ import annotations

from base64 import b64decode, b64encode
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helios_trio.errors import (
    AuthenticationFailed,
    FeatureNotSupported,
    HeliosError,
    NotAuthorised,
    ProtocolViolation,
)
from helios_trio.wire.scram import (
    SCRAM_SHA_256,
    SCRAM_SHA_256_PLUS,
    ClientExchange,
    ServerExchange,
    ServerNotProven,
    choose_mechanism,
    offered_mechanisms,
)
from helios_trio.wire.scram_keys import MAX_ITERATIONS, ScramKeys, Verifier, stable_salt

SALT = b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
NONCE = b"rOprNGfwEbeRWgbNEkqO"
SERVER_NONCE = b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
PROOF = b"dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
BINDING = bytes(range(32))
VERIFIER = Verifier.from_password("pencil", SALT, 4096)
QUICK = Verifier.from_password("pencil", SALT, 1)
QUICK_KEYS = ScramKeys.derive("pencil", SALT, 1)


def server(
    mechanism: str = SCRAM_SHA_256,
    verifier: Verifier = QUICK,
    binding: bytes | None = None,
    nonce: bytes = b"",
) -> ServerExchange:
    return ServerExchange(mechanism, verifier, user="u", binding=binding, nonce=nonce)


def run(client: ClientExchange, to: ServerExchange) -> None:
    """The whole exchange."""
    client.verify(to.final(client.final(to.first(client.first()))))


# -- RFC 7677, section 3


def test_server_follows_the_example_of_rfc_7677() -> None:
    """Challenge, proof and server signature are those of the RFC."""
    exchange = server(verifier=VERIFIER, nonce=SERVER_NONCE)
    nonce = NONCE + SERVER_NONCE
    challenge = exchange.first(b"n,,n=user,r=" + NONCE)
    assert challenge == b"r=%b,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096" % nonce
    outcome = exchange.final(b"c=biws,r=%b,p=%b" % (nonce, PROOF))
    assert outcome == b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    assert exchange.keys == ScramKeys.derive("pencil", SALT, 4096)


def test_client_proof_follows_the_example_of_rfc_7677() -> None:
    """The proof over the RFC's messages."""
    nonce = NONCE + SERVER_NONCE
    challenge = b"r=%b,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096" % nonce
    auth_message = b",".join((b"n=user,r=" + NONCE, challenge, b"c=biws,r=" + nonce))
    assert b64encode(ScramKeys.derive("pencil", SALT, 4096).proof(auth_message)) == PROOF


# -- both roles against each other


@pytest.mark.parametrize(
    ("mechanism", "binding"),
    [(SCRAM_SHA_256, None), (SCRAM_SHA_256_PLUS, BINDING)],
)
def test_the_right_password_is_accepted(mechanism: str, binding: bytes | None) -> None:
    """With and without channel binding; afterwards each side has proved itself."""
    to = server(mechanism, binding=binding)
    run(ClientExchange(mechanism, "pencil", binding=binding), to)
    assert to.keys.stored_key == QUICK.stored_key


@settings(max_examples=20)
@given(st.text(max_size=12), st.binary(min_size=1, max_size=20), st.integers(1, 20))
def test_any_password_works(password: str, salt: bytes, iterations: int) -> None:
    """Whatever characters it has."""
    verifier = Verifier.from_password(password, salt, iterations)
    run(ClientExchange(SCRAM_SHA_256, password, binding=None), server(verifier=verifier))


def test_keys_are_passed_through_without_a_password() -> None:
    """What a client proved to us lets us in wherever the verifier is the same."""
    first = server()
    run(ClientExchange(SCRAM_SHA_256, "pencil", binding=None), first)
    second = server(SCRAM_SHA_256_PLUS, binding=BINDING)
    run(ClientExchange(SCRAM_SHA_256_PLUS, first.keys, binding=BINDING), second)
    with pytest.raises(AuthenticationFailed):
        run(
            ClientExchange(SCRAM_SHA_256, first.keys, binding=None),
            server(verifier=Verifier.from_password("pencil", b"other", 1)),
        )


def test_keys_are_not_there_before_success() -> None:
    """A failed exchange gives no keys."""
    exchange = server()
    with pytest.raises(AuthenticationFailed):
        run(ClientExchange(SCRAM_SHA_256, "wrong", binding=None), exchange)
    with pytest.raises(RuntimeError):
        _ = exchange.keys


def test_unknown_users_cannot_be_told_from_wrong_passwords() -> None:
    """Same messages, same salt each time, same error; the salt depends on a secret of the installation."""
    known = Verifier.from_password("pencil", stable_salt("u", b"secret"))
    errors, challenges = [], []
    for verifier in (known, Verifier.mock("u", b"secret"), Verifier.mock("u", b"secret")):
        exchange = server(verifier=verifier, nonce=b"same")
        client = ClientExchange(SCRAM_SHA_256, "wrong", binding=None, nonce=b"mine")
        challenges.append(exchange.first(client.first()))
        with pytest.raises(AuthenticationFailed) as caught:
            exchange.final(client.final(challenges[-1]))
        errors.append(caught.value.fields())
    assert len(set(challenges)) == 1
    assert errors[0] == errors[1] == errors[2]
    assert errors[0]["M"] == 'password authentication failed for user "u"'
    assert errors[0]["C"] == "28P01"
    assert Verifier.mock("u", b"secret").salt != Verifier.mock("u", b"other").salt
    assert Verifier.mock("u", b"secret").salt != Verifier.mock("v", b"secret").salt


def test_a_mock_verifier_accepts_no_password_twice_alike() -> None:
    """Its keys are random: nothing can be learned from one attempt for the next."""
    assert Verifier.mock("u", b"n").stored_key != Verifier.mock("u", b"n").stored_key


# -- channel binding


def test_channel_binding_of_another_channel_is_refused() -> None:
    """Somebody ends TLS in between with another certificate."""
    with pytest.raises(NotAuthorised, match="SCRAM channel binding check failed") as caught:
        run(
            ClientExchange(SCRAM_SHA_256_PLUS, "pencil", binding=b"another"),
            server(SCRAM_SHA_256_PLUS, binding=BINDING),
        )
    assert caught.value.sqlstate == "28000"


def test_a_removed_offer_of_channel_binding_is_noticed() -> None:
    """A client that could bind says so; a server that offered it then knows that the offer was taken away."""
    client = ClientExchange(SCRAM_SHA_256, "pencil", binding=BINDING)
    assert client.first().startswith(b"y,,")
    with pytest.raises(NotAuthorised, match="SCRAM channel binding negotiation error") as caught:
        server(binding=BINDING).first(client.first())
    assert caught.value.sqlstate == "28000"
    run(ClientExchange(SCRAM_SHA_256, "pencil", binding=BINDING), server(binding=None))


def test_the_binding_flag_cannot_be_changed_on_the_way() -> None:
    """The header is repeated under the proof."""
    exchange = server()
    client = ClientExchange(SCRAM_SHA_256, "pencil", binding=BINDING)
    with pytest.raises(ProtocolViolation, match="unexpected SCRAM channel-binding attribute"):
        exchange.final(client.final(exchange.first(b"n" + client.first()[1:])))


def test_plus_is_only_there_with_tls() -> None:
    """Offer and choice."""
    assert offered_mechanisms(None) == (SCRAM_SHA_256,)
    assert offered_mechanisms(BINDING) == (SCRAM_SHA_256_PLUS, SCRAM_SHA_256)
    for mechanism, binding in ((SCRAM_SHA_256_PLUS, None), ("PLAIN", BINDING), ("", None)):
        with pytest.raises(
            ProtocolViolation, match="client selected an invalid SASL authentication mechanism"
        ):
            server(mechanism, binding=binding)


@pytest.mark.parametrize(
    ("offered", "binding", "required", "chosen"),
    [
        ((SCRAM_SHA_256_PLUS, SCRAM_SHA_256), BINDING, True, SCRAM_SHA_256_PLUS),
        ((SCRAM_SHA_256_PLUS, SCRAM_SHA_256), None, False, SCRAM_SHA_256),
        ((SCRAM_SHA_256,), BINDING, False, SCRAM_SHA_256),
        ((SCRAM_SHA_256,), BINDING, True, "channel binding is required"),
        ((SCRAM_SHA_256_PLUS,), None, False, "over a non-SSL connection"),
        (("PLAIN",), BINDING, False, "none of the server's SASL authentication mechanisms"),
        ((), None, True, "channel binding is required"),
    ],
)
def test_choice_of_mechanism(
    offered: tuple[str, ...], binding: bytes | None, required: bool, chosen: str
) -> None:
    """As libpq chooses."""
    if chosen.startswith("SCRAM"):
        assert choose_mechanism(offered, binding, require_binding=required) == chosen
    else:
        with pytest.raises(ServerNotProven, match=chosen):
            choose_mechanism(offered, binding, require_binding=required)


# -- malformed messages


@pytest.mark.parametrize(
    ("message", "wording", "detail"),
    [
        (b"", "malformed SCRAM message", "The message is empty."),
        (b"n,,n=,r=a\0", "malformed SCRAM message", "Message length does not match input length."),
        (b"x,,n=,r=a", "malformed SCRAM message", "Unexpected channel-binding flag \"'x'\"."),
        (b"\x01,,n=,r=a", "malformed SCRAM message", 'Unexpected channel-binding flag "0x01".'),
        (b"nx,n=,r=a", "malformed SCRAM message", "Comma expected, but found character \"'x'\"."),
        (b"n", "malformed SCRAM message", 'Comma expected, but found character "0x00".'),
        (b"n,x,", "malformed SCRAM message", "Unexpected attribute \"'x'\" in client-first-message."),
        (b"n,,r=a", "malformed SCRAM message", 'Expected attribute "n" but found "\'r\'".'),
        (b"n,,n", "malformed SCRAM message", 'Expected character "=" for attribute "n".'),
        (
            b"n,,n=,r=a,1=",
            "malformed SCRAM message",
            "Attribute expected, but found invalid character \"'1'\".",
        ),
        (b"n,,n=,r=\xff", "non-printable characters in SCRAM nonce", None),
        (
            b"p=tls-unique,,n=,r=a",
            "malformed SCRAM message",
            "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes "
            "channel binding data.",
        ),
    ],
)
def test_malformed_first_messages(message: bytes, wording: str, detail: str | None) -> None:
    """PostgreSQL's words, 08P01."""
    with pytest.raises(ProtocolViolation) as caught:
        server().first(message)
    assert (caught.value.message, caught.value.detail, caught.value.sqlstate) == (wording, detail, "08P01")


def test_plus_needs_binding_data_of_the_right_type() -> None:
    """PostgreSQL's words for a client that chose PLUS and does not bind, or binds otherwise."""
    with pytest.raises(ProtocolViolation) as caught:
        server(SCRAM_SHA_256_PLUS, binding=BINDING).first(b"n,,n=,r=a")
    assert "does not include channel binding data" in str(caught.value.detail)
    with pytest.raises(ProtocolViolation, match='unsupported SCRAM channel-binding type "tls-unique"'):
        server(SCRAM_SHA_256_PLUS, binding=BINDING).first(b"p=tls-unique,,n=,r=a")


@pytest.mark.parametrize("message", [b"n,a=other,n=,r=a", b"n,,m=x,n=,r=a"])
def test_features_of_scram_that_postgresql_lacks(message: bytes) -> None:
    """0A000."""
    with pytest.raises(FeatureNotSupported) as caught:
        server().first(message)
    assert (caught.value.sqlstate, caught.value.severity) == ("0A000", "FATAL")


@pytest.mark.parametrize(
    ("message", "wording"),
    [
        (b"c=biws,r=%b,p=%b,x=1", "Garbage found at the end of client-final-message."),
        (b"c=biws,r=%b,p=AAAA%.0b", "Malformed proof in client-final-message."),
        (b"c=biws,r=%b,p=!%b", "Malformed proof in client-final-message."),
        (b"c=biws,r=%b%.0b", "Attribute expected, but found end of string."),
        (b"c=biws,r=x%b,p=%b", "Nonce does not match."),
    ],
)
def test_malformed_final_messages(message: bytes, wording: str) -> None:
    """PostgreSQL's words, 08P01."""
    exchange = server(nonce=b"b")
    exchange.first(b"n,,n=,r=a")
    with pytest.raises(ProtocolViolation) as caught:
        exchange.final(message % (b"ab", PROOF))
    assert caught.value.detail == wording


def test_a_missing_first_message_is_asked_for() -> None:
    """The initial response may be left out; then the client speaks after an empty challenge."""
    exchange = server()
    assert exchange.first(None) == b""
    run(ClientExchange(SCRAM_SHA_256, "pencil", binding=None), exchange)


@pytest.mark.parametrize(
    ("challenge", "wording"),
    [
        (b"r=other,s=AAAA,i=1", "nonce mismatch"),
        (b"r=minex,s=*,i=1", "invalid salt"),
        (b"r=minex,s=AAAA,i=0", "invalid iteration count"),
        (b"r=minex,s=AAAA,i=-1", "invalid iteration count"),
        (b"r=minex,s=AAAA,i=" + b"9" * 5000, "invalid iteration count"),
        (b"r=minex,s=AAAA,i=%d" % (MAX_ITERATIONS + 1), "invalid iteration count"),
        (b"s=AAAA", "malformed SCRAM message"),
    ],
)
def test_servers_that_break_the_exchange(challenge: bytes, wording: str) -> None:
    """A server may not choose our nonce nor keep us computing for ever."""
    client = ClientExchange(SCRAM_SHA_256, "pencil", binding=None, nonce=b"mine")
    with pytest.raises(HeliosError, match=wording):
        client.final(challenge)


@pytest.mark.parametrize(
    ("outcome", "wording"),
    [
        (b"e=other-error", "error received from server in SCRAM exchange: other-error"),
        (b"v=" + b64encode(bytes(32)), "incorrect server signature"),
        (b"v=*", "invalid server signature"),
        (b"x=1", "malformed SCRAM message"),
    ],
)
def test_servers_that_do_not_know_the_password(outcome: bytes, wording: str) -> None:
    """The client finds out that this is not its server."""
    client, to = ClientExchange(SCRAM_SHA_256, "pencil", binding=None), server()
    client.final(to.first(client.first()))
    with pytest.raises(HeliosError, match=wording):
        client.verify(outcome)


def test_an_empty_signature_does_not_fit_an_exchange_that_did_not_happen() -> None:
    """`verify` before `final` cannot succeed."""
    with pytest.raises(ServerNotProven, match="incorrect server signature"):
        ClientExchange(SCRAM_SHA_256, "pencil", binding=None).verify(b"v=")


attribute = st.builds(
    lambda name, value: name + b"=" + value,
    st.sampled_from([b"n", b"r", b"c", b"p", b"m"]),
    st.binary(max_size=6),
)
scram_message = st.binary(max_size=30) | st.lists(attribute, max_size=5).map(b",".join)


@given(scram_message, scram_message, st.sampled_from([b"", b"n,,", b"y,,", b"p=tls-server-end-point,,"]))
def test_random_messages_only_raise_errors_of_the_tree(first: bytes, final: bytes, header: bytes) -> None:
    """Rule 5: nothing crashes, and nothing but the password lets anybody in."""
    for mechanism, binding in ((SCRAM_SHA_256, None), (SCRAM_SHA_256_PLUS, BINDING)):
        exchange = server(mechanism, binding=binding)
        with suppress(ProtocolViolation, NotAuthorised, FeatureNotSupported):
            exchange.first(header + first)
        with pytest.raises((ProtocolViolation, NotAuthorised, AuthenticationFailed)):
            exchange.final(final)
    client = ClientExchange(SCRAM_SHA_256, QUICK_KEYS, binding=None, nonce=b"r")
    with suppress(ProtocolViolation, ServerNotProven):
        client.final(first)
    with pytest.raises((ProtocolViolation, ServerNotProven)):
        client.verify(final)
