"""Rules like those of pg_hba.conf."""

from __future__ import annotations

import pytest

from helios_trio.config.auth import AuthRule
from helios_trio.config.words import AuthMethod, ConnectionType, RuleMethod
from helios_trio.errors import NotAuthorised
from helios_trio.net.certificates import TLSInfo
from helios_trio.proxy.auth_rules import AuthRules, ClientIdentity

TLS = TLSInfo("TLSv1.3", "", 256, None, None, (), "", ())
ALICE = ClientIdentity("alice", "shop", "10.1.2.3")
LOCAL = ClientIdentity("alice", "shop", None)
OVER_TLS = ClientIdentity("alice", "shop", "10.1.2.3", TLS)
REPLICA = ClientIdentity("alice", "", "10.1.2.3", replication=True)


def rule(**conditions: object) -> AuthRule:
    """A rule that lets in who it matches."""
    return AuthRule(**{"method": RuleMethod.TRUST, **conditions})


def lets_in(identity: ClientIdentity, **conditions: object) -> bool:
    """Whether this one rule matches."""
    try:
        return AuthRules([rule(**conditions)], None).method_for(identity) is AuthMethod.TRUST
    except NotAuthorised:
        return False


@pytest.mark.parametrize(
    ("database", "matches"),
    [
        ("all", True),
        ("shop", True),
        ("sh*", True),
        ("shop_1", False),
        ("other, shop", True),
        ("other,third", False),
        ("sameuser", False),
        ("replication", False),
        ('"shop"', True),
        ('"all"', False),
        ('"sh*"', False),
    ],
)
def test_databases(database: str, matches: bool) -> None:
    """Names, lists, patterns, words; quoted a word is a name."""
    assert lets_in(ALICE, database=database) is matches


def test_sameuser() -> None:
    """The database called as the user."""
    assert lets_in(ClientIdentity("alice", "alice", None), database="sameuser")


def test_a_user_name_does_not_match_the_word_sameuser() -> None:
    """`sameuser` is a word of the database column, and no pattern for a database of that name."""
    assert not lets_in(ClientIdentity("alice", "sameuser", None), database="sameuser")


def test_replication_is_let_in_by_its_own_word_only() -> None:
    """`all` does not mean physical replication, as in pg_hba.conf."""
    assert not lets_in(REPLICA, database="all")
    assert lets_in(REPLICA, database="replication")


@pytest.mark.parametrize(
    ("user", "matches"),
    [("all", True), ("alice", True), ("Alice", False), ("bob,alice", True), ("a?ice", True)],
)
def test_users(user: str, matches: bool) -> None:
    """Names are compared exactly."""
    assert lets_in(ALICE, user=user) is matches


@pytest.mark.parametrize(
    ("address", "client", "matches"),
    [
        ("all", "10.1.2.3", True),
        ("all", None, True),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("10.0.0.0/8", "::1", False),
        ("10.0.0.0/8", None, False),
        ("10.1.2.3", "10.1.2.3", True),
        ("fe80::/10", "fe80::1%eth0", True),
        ("::/0", "10.1.2.3", False),
    ],
)
def test_addresses(address: str, client: str | None, matches: bool) -> None:
    """Networks of either family; an IPv4 client on an IPv6 socket counts as IPv4."""
    assert lets_in(ClientIdentity("alice", "shop", client), address=address) is matches


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (ConnectionType.ANY, [True, True, True]),
        (ConnectionType.LOCAL, [True, False, False]),
        (ConnectionType.HOST, [False, True, True]),
        (ConnectionType.HOSTSSL, [False, False, True]),
        (ConnectionType.HOSTNOSSL, [False, True, False]),
    ],
)
def test_connection_types(kind: ConnectionType, expected: list[bool]) -> None:
    """Unix socket, plain TCP, TLS."""
    assert [lets_in(identity, type=kind) for identity in (LOCAL, ALICE, OVER_TLS)] == expected


def test_the_first_match_decides() -> None:
    """A later rule that would let the client in is not reached."""
    rules = AuthRules([rule(user="bob"), rule(method=RuleMethod.CERT), rule()], None)
    assert rules.method_for(ALICE) is AuthMethod.CERT


def test_the_default_is_for_who_no_rule_matches() -> None:
    """Not for who is rejected."""
    rules = AuthRules([rule(user="mallory", method=RuleMethod.REJECT)], AuthMethod.SCRAM_SHA_256)
    assert rules.method_for(ALICE) is AuthMethod.SCRAM_SHA_256
    with pytest.raises(NotAuthorised):
        rules.method_for(ClientIdentity("mallory", "shop", None))


@pytest.mark.parametrize(
    ("identity", "rules", "message"),
    [
        (
            ALICE,
            [],
            'no pg_hba.conf entry for host "10.1.2.3", user "alice", database "shop", no encryption',
        ),
        (
            REPLICA,
            [],
            "no pg_hba.conf entry for replication connection from "
            'host "10.1.2.3", user "alice", no encryption',
        ),
        (
            OVER_TLS,
            [rule(method=RuleMethod.REJECT)],
            "pg_hba.conf rejects connection for "
            'host "10.1.2.3", user "alice", database "shop", SSL encryption',
        ),
        (
            LOCAL,
            [rule(method=RuleMethod.REJECT)],
            'pg_hba.conf rejects connection for host "[local]", user "alice", database "shop", no encryption',
        ),
    ],
)
def test_errors_are_worded_as_postgresqls(
    identity: ClientIdentity, rules: list[AuthRule], message: str
) -> None:
    """28000, with who was refused from where."""
    with pytest.raises(NotAuthorised) as caught:
        AuthRules(rules, None).method_for(identity)
    assert caught.value.message == message
    assert caught.value.sqlstate == "28000"
    assert caught.value.severity == "FATAL"
