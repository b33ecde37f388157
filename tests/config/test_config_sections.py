"""What sections decide by themselves: pool rules, database names, the default of authentication, secrets."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from helios_trio.config import (
    AuthMethod,
    AuthRule,
    AuthSettings,
    Backends,
    BackendSettings,
    Config,
    ControlSettings,
    DatabaseSettings,
    PoolMode,
    PoolRule,
    Pools,
    PoolSettings,
    ProxySettings,
    RuleMethod,
    Secret,
    TcpAddress,
    UnixAddress,
)

POOLS = Pools(
    max_connections=50,
    rules=(
        PoolRule(database="reports", user="bob", max_connections=1),
        PoolRule(database="reports", mode=PoolMode.TRANSACTION, idle_timeout=float("inf")),
        PoolRule(user="etl_*", min_connections=0, mode=PoolMode.STATEMENT),
    ),
)


@pytest.mark.parametrize(
    ("database", "user", "mode", "most"),
    [
        ("reports", "bob", PoolMode.SESSION, 1),
        ("reports", "ann", PoolMode.TRANSACTION, 50),
        ("reports", "etl_1", PoolMode.TRANSACTION, 50),
        ("app", "etl_1", PoolMode.STATEMENT, 50),
        ("app", "ETL_1", PoolMode.SESSION, 50),
        ("report", "bob", PoolMode.SESSION, 50),
    ],
)
def test_the_first_pool_rule_that_matches_wins(database: str, user: str, mode: PoolMode, most: int) -> None:
    """What it does not say is that of [pool], not that of a later rule; names are case-sensitive."""
    settings = POOLS.for_(database, user)
    assert (settings.mode, settings.max_connections) == (mode, most)


def test_pool_settings_without_rules_are_those_of_the_section() -> None:
    """And of the plain class, so that equal settings are equal."""
    assert Pools().for_("a", "b") == PoolSettings()
    assert POOLS.for_("reports", "ann").idle_timeout == float("inf")


def test_every_pool_setting_can_be_given_by_a_rule() -> None:
    """A new key of [pool] is one of [[pool.rules]] too."""
    keys = {each.name for each in attrs.fields(PoolSettings)}
    assert {each.name for each in attrs.fields(PoolRule)} == keys | {"database", "user"}


def test_without_databases_each_name_stands_for_itself() -> None:
    """Nothing is refused, nothing is renamed."""
    assert Config().database_for("x") == DatabaseSettings(name="x")


def test_with_databases_other_names_are_refused_unless_a_star_takes_them() -> None:
    """As in PgBouncer; a name of its own goes before the star, wherever that stands."""
    star, own = DatabaseSettings(name="*"), DatabaseSettings(name="a", database="b")
    assert Config(databases=(own,)).database_for("x") is None
    assert Config(databases=(star, own)).database_for("x") == star
    assert Config(databases=(star, own)).database_for("a") == own


BACKEND = Backends(pools=(BackendSettings(name="a", host="h"),))
PUBLIC = ProxySettings(listen_address=(UnixAddress("/a"), TcpAddress("0.0.0.0", 1)))
PRIVATE = ProxySettings(listen_address=(UnixAddress("/a"), TcpAddress("::1", 1)))


@pytest.mark.parametrize(
    ("config", "method"),
    [
        (Config(), AuthMethod.TRUST),
        (Config(proxy=PRIVATE), AuthMethod.TRUST),
        (Config(proxy=PUBLIC), AuthMethod.SCRAM_SHA_256),
        (Config(backends=BACKEND), AuthMethod.SCRAM_SHA_256),
        (Config(proxy=PUBLIC, auth=AuthSettings(method=AuthMethod.MD5)), AuthMethod.MD5),
    ],
)
def test_trust_is_the_default_only_for_the_private_embedded_cluster(
    config: Config, method: AuthMethod
) -> None:
    """Whoever listens to the world, or has servers, has to say what clients need."""
    assert config.effective_auth.method is method


def test_the_methods_of_rules_are_known() -> None:
    """The checks ask which methods some client may have to pass."""
    auth = AuthSettings(method=AuthMethod.CERT, rules=(AuthRule(method=RuleMethod.REJECT),))
    assert auth.methods == {"cert", "reject"}


def test_a_password_is_read_again_each_time(tmp_path: Path) -> None:
    """Its first line, so that a rotated password needs no reload."""
    file = tmp_path / "password"
    control = ControlSettings(password_file=file)
    for text, password in (("one\n", "one"), ("two\nnot this", "two"), ("", "")):
        file.write_text(text)
        found = control.read_password()
        assert found is not None
        assert found.reveal() == password
    assert ControlSettings().read_password() is None
    assert ControlSettings(password=Secret("direct")).read_password() == Secret("direct")


def test_a_secret_compares_by_its_text_and_shows_nothing() -> None:
    """A reload has to see that a password changed."""
    assert Secret("a") == Secret("a") != Secret("b")
    assert "hunter2" not in f"{Secret('hunter2')} {Secret('hunter2')!r}"
