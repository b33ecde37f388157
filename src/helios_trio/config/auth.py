"""`[auth]`: how clients prove who they are, as data; rules are applied and methods carried out by `proxy`."""

from __future__ import annotations

from typing import Annotated

from attrs import frozen

from helios_trio.config.keys import REQUIRED, key, tables
from helios_trio.config.kinds import Name, Network, ReadableFile
from helios_trio.config.words import (
    AuthMethod,
    AuthMethodWord,
    ConnectionType,
    ConnectionTypeWord,
    RuleMethodWord,
)


@frozen(kw_only=True)
class AuthRule:
    """One line of the kind of pg_hba.conf; the first that matches decides."""

    type: ConnectionTypeWord = key(
        ConnectionType.ANY, "any, local (unix socket), host, hostssl or hostnossl, as in pg_hba.conf"
    )
    database: Name = key(
        "all",
        "names separated by commas: all, sameuser, replication, or patterns with * and ?",
    )
    user: Name = key("all", "names separated by commas: all, or patterns with * and ?")
    address: Annotated[str, Network()] = key("all", '"all", an address or a network; of TCP clients')
    method: RuleMethodWord = key(REQUIRED, "a method as in [auth], or reject", example="scram-sha-256")


@frozen(kw_only=True)
class AuthSettings:
    """How clients prove who they are. A client that no rule matches is asked for `method`."""

    method: AuthMethodWord | None = key(
        None,
        "trust, password, md5, scram-sha-256 or cert; absent: trust for the embedded cluster as long as only "
        "this machine can connect, scram-sha-256 otherwise",
        example="scram-sha-256",
    )
    auth_file: ReadableFile | None = key(
        None,
        'lines of "user" "password", md5... or SCRAM-SHA-256$..., as PgBouncer has them',
        example="userlist.txt",
    )
    auth_user: Name | None = key(
        None, "who runs auth_query; absent: the user of [control]", example="helios_auth"
    )
    auth_dbname: Name = key("postgres", "where auth_query is run")
    auth_query: Name | None = key(
        None,
        "asked for users that auth_file does not have: one row of user name and password or verifier",
        example="SELECT usename, passwd FROM pg_shadow WHERE usename = $1",
    )
    rules: tuple[AuthRule, ...] = tables()

    @property
    def methods(self) -> frozenset[str]:
        """All methods that some client may be asked for."""
        return frozenset({self.method or AuthMethod.SCRAM_SHA_256, *(rule.method for rule in self.rules)})
