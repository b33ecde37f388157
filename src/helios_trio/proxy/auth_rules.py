"""Which authentication a client must pass: rules like those of pg_hba.conf, the first that matches decides.

The rules come from the configuration; here they are compiled once per reload and asked once per client. Words
and errors are those of PostgreSQL (docs, "The pg_hba.conf File"; `auth_failed` and `ClientAuthentication` in
auth.c), because operators and drivers know them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from attrs import frozen

from helios_trio.config.auth import AuthRule
from helios_trio.config.words import AuthMethod, ConnectionType, RuleMethod
from helios_trio.errors import NotAuthorised
from helios_trio.net.certificates import TLSInfo

ALL: Final = "all"
SAME_USER: Final = "sameuser"
REPLICATION: Final = "replication"


@frozen
class ClientIdentity:
    """Who a client says it is, and where it comes from."""

    user: str
    database: str
    address: str | None
    """Its IP address, None on a unix socket."""
    tls: TLSInfo | None = None
    replication: bool = False
    """Whether it asks for physical replication, which is for no database."""

    @property
    def described(self) -> str:
        """Host, user, database and encryption as PostgreSQL's errors name them."""
        place = f'host "{self.address or "[local]"}", user "{self.user}"'
        database = "" if self.replication else f', database "{self.database}"'
        return f"{place}{database}, {'no encryption' if self.tls is None else 'SSL encryption'}"


class AuthRules:
    """Compiled rules."""

    def __init__(self, rules: Iterable[AuthRule], default: AuthMethod | None) -> None:
        """`default` is the method of clients that no rule matches; with None they are refused."""
        self._rules = tuple(_Rule.compile(rule) for rule in rules)
        self._default = default

    def method_for(self, identity: ClientIdentity) -> AuthMethod:
        """The method that decides about this client. Raises `NotAuthorised` if a rule, or none, says so."""
        rule = next((rule for rule in self._rules if rule.matches(identity)), None)
        if rule is not None and rule.method is not RuleMethod.REJECT:
            return AuthMethod(rule.method)
        if rule is None and self._default is not None:
            return self._default
        if rule is None:
            kind = "replication connection from " if identity.replication else ""
            raise NotAuthorised(f"no pg_hba.conf entry for {kind}{identity.described}")
        kind = "replication connection" if identity.replication else "connection"
        raise NotAuthorised(f"pg_hba.conf rejects {kind} for {identity.described}")


_Test = Callable[[ClientIdentity], bool]


@frozen
class _Rule:
    tests: tuple[_Test, ...]
    method: RuleMethod

    @classmethod
    def compile(cls, rule: AuthRule) -> _Rule:
        tests = (
            _connection_test(rule.type),
            _database_test(rule.database),
            _user_test(rule.user),
            _address_test(rule.address),
        )
        return cls(tests, rule.method)

    def matches(self, identity: ClientIdentity) -> bool:
        return all(test(identity) for test in self.tests)


def _connection_test(kind: ConnectionType) -> _Test:
    match kind:
        case ConnectionType.LOCAL:
            return lambda identity: identity.address is None
        case ConnectionType.HOST:
            return lambda identity: identity.address is not None
        case ConnectionType.HOSTSSL:
            return lambda identity: identity.address is not None and identity.tls is not None
        case ConnectionType.HOSTNOSSL:
            return lambda identity: identity.address is not None and identity.tls is None
        case _:
            return lambda identity: True


def _database_test(text: str) -> _Test:
    """Replication is matched by its own word only, `all` included."""
    words = _words(text)

    def test(identity: ClientIdentity) -> bool:
        if identity.replication:
            return REPLICATION in words
        return any(
            (word == SAME_USER and identity.user == identity.database)
            or (word not in (SAME_USER, REPLICATION) and _fits(word, identity.database))
            for word in words
        )

    return test


def _user_test(text: str) -> _Test:
    words = _words(text)
    return lambda identity: any(_fits(word, identity.user) for word in words)


def _words(text: str) -> tuple[str, ...]:
    """The entries of a list separated by commas."""
    return tuple(word.strip() for word in text.split(","))


def _fits(word: str, name: str) -> bool:
    """Quoting takes a word's special meaning away, as in pg_hba.conf; otherwise `*` and `?` are wildcards."""
    if len(word) > 1 and word[0] == word[-1] == '"':
        return word[1:-1] == name
    return word == ALL or fnmatchcase(name, word)


def _address_test(text: str) -> _Test:
    if text == ALL:
        return lambda identity: True
    network = ip_network(text)
    return lambda identity: identity.address is not None and _within(network, identity.address)


def _within(network: IPv4Network | IPv6Network, address: str) -> bool:
    client: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(client, IPv6Address) and client.ipv4_mapped is not None:
        client = client.ipv4_mapped
    return client in network
