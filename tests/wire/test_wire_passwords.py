"""wire.scram_keys, wire.saslprep, wire.passwords: what is kept of passwords, and what is made of them."""

from __future__ import annotations

from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helios_trio.wire.passwords import (
    PasswordType,
    md5_accepts,
    md5_response,
    md5_stored,
    password_type,
    plain_accepts,
)
from helios_trio.wire.saslprep import prepare_password, saslprep
from helios_trio.wire.scram_keys import MAX_ITERATIONS, ScramKeys, Verifier

SALT = b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
VERIFIER = Verifier.from_password("pencil", SALT, 4096)
QUICK = Verifier.from_password("pencil", SALT, 1)
QUICK_KEYS = ScramKeys.derive("pencil", SALT, 1)


# -- verifiers


def test_verifier_text_is_postgresqls() -> None:
    """As `pg_authid.rolpassword` holds it."""
    text = (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
        "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )
    assert str(VERIFIER) == text
    assert Verifier.parse(text) == VERIFIER


@given(st.binary(max_size=30), st.integers(1, MAX_ITERATIONS), st.binary(min_size=32, max_size=32))
def test_verifiers_come_back(salt: bytes, iterations: int, key: bytes) -> None:
    """str and parse are inverse."""
    verifier = Verifier(iterations, salt, key, key[::-1])
    assert Verifier.parse(str(verifier)) == verifier


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SCRAM-SHA-256$", "SCRAM-SHA-1$"),
        ("4096", "0"),
        ("4096", "99999999999"),
        ("4096", "4_0"),
        ("=:", ":"),
        ("$W", "$*"),
    ],
)
def test_other_text_is_no_verifier(old: str, new: str) -> None:
    """Then it is a password in plain text, or rubbish."""
    assert Verifier.parse(str(VERIFIER).replace(old, new)) is None


def test_secrets_are_not_shown() -> None:
    """Rule 39: no key in a log line or traceback."""
    shown = repr(QUICK) + repr(QUICK_KEYS)
    for secret in (QUICK.stored_key, QUICK.server_key, QUICK_KEYS.client_key):
        assert repr(secret)[2:-1] not in shown
    assert "stored_key" not in shown


# -- SASLprep


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
        ("a\u200bb", "a b"),
        ("\u0627\u0031", None),
        ("\u00ad", None),
        ("é\u0007", None),
        ("\ue000", None),
        ("\U000e0001", None),
        ("\u06271\u0628", "\u06271\u0628"),
        ("\u0627a\u0628", None),
    ],
)
def test_saslprep(text: str, wanted: str | None) -> None:
    """RFC 4013, section 3, and PostgreSQL's choices."""
    assert saslprep(text) == wanted


def test_passwords_that_cannot_be_prepared_are_used_raw() -> None:
    """As in PostgreSQL: pure ASCII is never touched, the prohibited stays as it was given."""
    assert prepare_password("a\x07b") == b"a\x07b"
    assert prepare_password("\u0627\u0031") == "\u0627\u0031".encode()
    assert prepare_password("\u2168") == b"IX"
    assert prepare_password(b"\xff\xfe".decode("utf-8", "surrogateescape")) == b"\xff\xfe"
    assert prepare_password("") == b""


# -- md5 and plain


def test_md5_digests_are_postgresqls() -> None:
    """`md5_password_encrypt`: the stored digest and the answer to a salt."""
    stored = md5_stored("postgres", "secret")
    assert md5_stored("md5_user", "pencil") == "md529e3d0a0b4f3e9dd311543f9993a8476"
    assert md5_accepts(stored, b"salt", md5_response(stored, b"salt"))
    assert not md5_accepts(stored, b"tlas", md5_response(stored, b"salt"))
    assert not md5_accepts(stored, b"salt", "md5ü")


@pytest.mark.parametrize(
    ("stored", "kind"),
    [
        (md5_stored("u", "pencil"), PasswordType.MD5),
        (str(QUICK), PasswordType.SCRAM),
        ("pencil", PasswordType.PLAIN),
        ("md5" + "G" * 32, PasswordType.PLAIN),
        ("md5" + "a" * 31, PasswordType.PLAIN),
        ("SCRAM-SHA-256$oops", PasswordType.PLAIN),
    ],
)
def test_types_of_stored_passwords(stored: str, kind: PasswordType) -> None:
    """`get_password_type`; a password sent in clear fits whatever is stored of it."""
    assert password_type(stored) is kind
    if "pencil" in stored or kind is not PasswordType.PLAIN:
        assert plain_accepts(stored, "u", "pencil")
    assert not plain_accepts(stored, "u", "pen")
    assert not plain_accepts(stored, "u", "ü")
