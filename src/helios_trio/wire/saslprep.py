"""SASLprep (RFC 4013): the form in which a password enters SCRAM.

Follows PostgreSQL's saslprep.c where that departs from the RFC: pure ASCII is taken as it is, non-ASCII
spaces are mapped before characters are dropped, and normalisation is that of today's Unicode. A password that
may not be prepared is used as it was given, on both sides. Called by `wire.scram_keys`.
"""

from __future__ import annotations

import stringprep
from unicodedata import normalize

from helios_trio.wire.layout import to_bytes

_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    stringprep.in_table_a1,
)


def prepare_password(password: str) -> bytes:
    """The bytes of the password that SCRAM hashes."""
    return to_bytes(password if password.isascii() else saslprep(password) or password)


def saslprep(text: str) -> str | None:
    """The prepared text, or None when the profile prohibits it."""
    prepared = normalize("NFKC", "".join(_mapped(character) for character in text))
    if not prepared or any(test(character) for character in prepared for test in _PROHIBITED):
        return None
    return prepared if _is_directed_well(prepared) else None


def _mapped(character: str) -> str:
    if stringprep.in_table_c12(character):
        return " "
    return "" if stringprep.in_table_b1(character) else character


def _is_directed_well(text: str) -> bool:
    """RFC 3454, section 6: text that runs right to left does so throughout, and at both ends."""
    if not any(map(stringprep.in_table_d1, text)):
        return True
    both_ends = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
    return both_ends and not any(map(stringprep.in_table_d2, text))
