"""Errors: all at once, each with its place, its value and what was expected, and no secret."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helios_trio.config import Config, InvalidConfig, loads, toml
from helios_trio.config.keys import Leaf, Table, Tables, shapes
from helios_trio.errors import ConfigError

BACKEND = '[[backends.pools]]\nname = "a"\nhost = "h"\n'
TRUST = '[auth]\nmethod = "trust"\n'


def lines(text: str, **environ: str) -> list[str]:
    """The lines of the error about `text`; none if there is no error."""
    try:
        loads(text, environ, source="helios.toml", folder=Path("/configs"))
    except InvalidConfig as error:
        return list(error.lines)
    return []


def test_all_errors_are_reported_at_once() -> None:
    """Values, unknown keys, missing keys, missing variables and checks across keys, in one error."""
    found = lines(
        """
        [proxy]
        drain_timeout = 30
        listen_adress = "x"
        [proxy.tls]
        mode = "require"
        cert_file = "none.crt"
        [auth]
        method = "trust"
        [[auth.rules]]
        user = "x"
        [[backends.pools]]
        name = "a"
        host = "${MISSING}"
        min_connections = 5
        max_connections = 3
        [[backends.pools]]
        port = 99999
        [pool]
        mode = "transction"
        [plugins]
        enabled = true
        """,
        HELIOS__POOL__QUEUE_MAX="many",
    )
    assert sorted(found) == sorted(
        [
            'helios.toml: proxy.drain_timeout: 30: expected a duration such as "500ms", "30s", "5m" or "1h"',
            "helios.toml: proxy.listen_adress: unknown key in this version; did you mean listen_address?",
            'helios.toml: proxy.tls.cert_file: "/configs/none.crt": '
            "expected the path of a readable file (there is none)",
            "helios.toml: proxy.tls.key_file: expected a file, as mode is require",
            "helios.toml: auth.rules.0.method: expected a value, as this key has no default",
            "helios.toml: backends.pools.0.host: expected the environment variable MISSING to be set",
            "helios.toml: backends.pools.0.min_connections: 5: expected at most max_connections, 3",
            "helios.toml: backends.pools.1.name: expected a value, as this key has no default",
            "helios.toml: backends.pools.1.host: expected a value, as this key has no default",
            "helios.toml: backends.pools.1.port: 99999: expected a whole number from 1 to 65535",
            'helios.toml: pool.mode: "transction": expected one of session, transaction, statement',
            "environment: HELIOS__POOL__QUEUE_MAX: pool.queue_max: "
            '"many": expected a whole number, at least 0',
            "helios.toml: plugins: unknown section in this version; known here: proxy, auth, control, "
            "backends, databases, pool, timeouts, topology, health_checks, session_migration, switchover_buffer, "
            "failover, transaction_replay, cursor_restore, load_balancer, routing, lag_routing, "
            "transparent_write_routing, circuit_breaker, admin, observability, "
            "alerts, embedded",
        ]
    )


def test_the_error_is_one_of_ours() -> None:
    """The command line tells a wrong configuration from other failures by its class."""
    with pytest.raises(ConfigError):
        loads("x = 1", {}, source="f", folder=Path("/"))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[pol]", "pol: unknown section in this version; did you mean pool?"),
        ("proxy = 5", "proxy: a number: expected a table, [...]"),
        ("[backends.pools]", "backends.pools: a table: expected an array of tables, [[...]]"),
        (TRUST + "[backends]\npools = [5]", "backends.pools.0: a number: expected a table, [...]"),
        ("proxy.reuse_port = 1", "proxy.reuse_port: 1: expected true or false"),
        ("pool.max_connections = true", "pool.max_connections: true: expected a whole number, at least 1"),
        ("pool.max_connections = 0", "pool.max_connections: 0: expected a whole number, at least 1"),
        (
            'timeouts.login = "off"',
            'timeouts.login: "off": expected a duration such as "500ms", "30s", "5m" or "1h"',
        ),
        (
            'timeouts.query = "0s"',
            'timeouts.query: "0s": expected a duration such as "500ms", "30s", "5m" or "1h", or "off"',
        ),
        ("embedded.standbys = 10", "embedded.standbys: 10: expected a whole number from 0 to 9"),
        ('pool.reset_query = ""', 'pool.reset_query: "": expected a string, not empty'),
        (
            "proxy.listen_address = []",
            "proxy.listen_address: []: "
            'expected "host:port" (port 0 to 65535), "unix:/folder", or a list of these',
        ),
        (
            'proxy.admin_listen_address = "unix:/a"',
            'proxy.admin_listen_address: "unix:/a": expected "host:port" or "off"',
        ),
        (
            'auth.rules = [{ method = "reject", address = "10.0.0.1/8" }]',
            'auth.rules.0.address: "10.0.0.1/8": '
            'expected "all", an IP address, or a network such as "10.0.0.0/8"',
        ),
    ],
)
def test_a_wrong_value_says_what_was_expected(text: str, line: str) -> None:
    """One error each, with the value as written."""
    assert lines(text) == [f"helios.toml: {line}"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            BACKEND,
            "auth: expected auth_file or auth_query, as clients are asked for scram-sha-256",
        ),
        (
            '[proxy]\nlisten_address = "0.0.0.0:1"',
            "auth: expected auth_file or auth_query, as clients are asked for scram-sha-256",
        ),
        (
            TRUST + 'rules = [{ method = "md5" }]',
            "auth: expected auth_file or auth_query, as clients are asked for md5",
        ),
        (
            '[auth]\nmethod = "md5"\nauth_query = "SELECT 1"',
            'auth.auth_query: "SELECT 1": expected a query with $1 for the user\'s name',
        ),
        (
            TRUST + BACKEND + 'tls = "verify-full"',
            "backends.pools.0.tls_ca_file: expected a file, as tls is verify-full",
        ),
        (
            TRUST + BACKEND + 'password = "p"',
            "backends.pools.0.user: expected the user whose password is given",
        ),
        (
            TRUST + BACKEND + BACKEND,
            'backends.pools.1.name: "a": expected a name that no other has',
        ),
        (
            '[[databases]]\nname = "d"\nbackend = "b"',
            'databases.0.backend: "b": expected the name of one of [[backends.pools]] (there is none)',
        ),
        (
            '[[databases]]\nname = "d"\n[[databases]]\nname = "d"',
            'databases.1.name: "d": expected a name that no other has',
        ),
        ("[pool]\nmin_connections = 101", "pool.min_connections: 101: expected at most max_connections, 100"),
        (
            "[[pool.rules]]\nmin_connections = 101",
            "pool.rules.0.min_connections: 101: expected at most max_connections, 100",
        ),
        (
            '[proxy]\nlisten_address = ["localhost:1", "localhost:1"]',
            'proxy.listen_address: "localhost:1": expected each address once',
        ),
        (
            '[proxy]\nadmin_listen_address = "127.0.0.1:6432"',
            'proxy.admin_listen_address: "127.0.0.1:6432": expected another address than listen_address',
        ),
        (
            TRUST + BACKEND + 'tls_key_file = "/dev/null"',
            "backends.pools.0.tls_cert_file: expected a file, as tls_key_file is given",
        ),
        (
            '[control]\npassword = "p"\npassword_file = "/dev/null"',
            "control.password_file: expected either password or password_file, not both",
        ),
    ],
)
def test_checks_across_keys(text: str, line: str) -> None:
    """What one key demands of another."""
    assert lines(text) == [f"helios.toml: {line}"]


def test_cert_needs_tls_and_a_ca() -> None:
    """Both are said."""
    found = lines('[auth]\nmethod = "cert"')
    assert [line.split(": ")[1] for line in found] == ["proxy.tls.mode", "proxy.tls.client_ca_file"]


def test_several_free_ports_are_allowed() -> None:
    """Port 0 twice is not the same address."""
    assert (
        lines(
            '[proxy]\nlisten_address = ["127.0.0.1:0", "127.0.0.1:0"]\nadmin_listen_address = "127.0.0.1:0"'
        )
        == []
    )


def test_no_check_judges_a_key_that_is_wrong_already() -> None:
    """A misspelt file name in a key that is wrong by itself is one error, not two."""
    assert lines("[pool]\nmin_connections = 200\nmax_connections = -1") == [
        "helios.toml: pool.max_connections: -1: expected a whole number, at least 1"
    ]


@pytest.mark.parametrize(
    ("variable", "line"),
    [
        ("HELIOS__POOL__MOD", "pool.mod: unknown key in this version; did you mean mode?"),
        ("HELIOS__POL__MODE", "pol: unknown section in this version; did you mean pool?"),
        ("HELIOS__POOL__MODE__X", "pool.mode.x: expected nothing below a key"),
        (
            "HELIOS__BACKENDS__POOLS__NAME",
            "backends.pools.name: expected the index of a table, as in HELIOS__BACKENDS__POOLS__0__PORT",
        ),
        (
            "HELIOS__BACKENDS__POOLS__1__NAME",
            "backends.pools.1.name: expected an index that follows on those before it, below tables",
        ),
    ],
)
def test_a_variable_with_no_place_is_an_error(variable: str, line: str) -> None:
    """Named by the variable, so that it can be found."""
    found = lines("", **{variable: "x"})
    assert len(found) == 1
    assert found[0].startswith(f"environment: {variable}: ")
    assert found[0].endswith(line.partition(": ")[2])


SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        (f'[control]\npasword = "{SECRET}"', {}),
        (f'control.password = ["{SECRET}"]', {}),
        (f'backends = "{SECRET}"', {}),
        (f'{BACKEND}port = "${{VARIABLE}}"', {"VARIABLE": SECRET}),
        (f'[[backends.pools]]\nname = "a"\nhost = "postgres://user:{SECRET}@h/d"', {}),
        ("", {"HELIOS__CONTROL__PASWORD": SECRET}),
        ('[[databases]]\nname = ""\npassword = "' + SECRET + '"', {}),
    ],
)
def test_errors_show_no_secret(text: str, environ: dict[str, str]) -> None:
    """Rule 39: neither misspelt, nor misplaced, nor from a variable, nor inside a URL."""
    found = lines(text, **environ)
    assert found
    assert SECRET not in "\n".join(found)


def required_keys(section: type) -> list[tuple[type, str, Leaf]]:
    """All keys below `section` that the file must give."""
    found: list[tuple[type, str, Leaf]] = []
    for name, shape in shapes(section).items():
        match shape:
            case Leaf() if attrs.fields_dict(section)[name].default is attrs.NOTHING:
                found.append((section, name, shape))
            case Table() | Tables():
                found += required_keys(shape.section)
            case _:
                pass
    return found


def test_each_required_key_has_an_example_that_can_stand_in_for_it() -> None:
    """The loader goes on with it, to find further errors."""
    found = required_keys(Config)
    assert found
    for _, _, leaf in found:
        leaf.kind.read(leaf.notes.example)


VALUES = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(st.data())
def test_any_value_anywhere_is_read_or_refused(data: st.DataObject) -> None:
    """No value at any key makes the loader fail in another way than by its error."""
    paths = [(*path, name) for path, section in sections(Config, ()) for name in shapes(section)]
    path = data.draw(st.sampled_from(paths))
    variable = "HELIOS__" + "__".join(path).upper()
    text = data.draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
    for line in lines("", **{variable: text}):
        assert line


def sections(section: type, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], type]]:
    """Every section below `section` with its path, the first item of arrays."""
    found = [(path, section)]
    for name, shape in shapes(section).items():
        match shape:
            case Table(inner):
                found += sections(inner, (*path, name))
            case Tables(inner):
                found += sections(inner, (*path, name, "0"))
            case _:
                pass
    return found


@given(st.data())
def test_any_toml_value_anywhere_is_read_or_refused(data: st.DataObject) -> None:
    """As above, with values of every type that TOML has."""
    path, section = data.draw(st.sampled_from(sections(Config, ())))
    name = data.draw(st.sampled_from([*shapes(section), "unknown"]))
    value = data.draw(VALUES)
    tree: object = {name: value}
    for part in reversed(path):
        tree = [tree] if part == "0" else {part: tree}
    assert isinstance(tree, dict)
    for line in lines("\n".join(f"{toml.name(key)} = {toml.value(each)}" for key, each in tree.items())):
        assert line.startswith("helios.toml: ")


PATRONI = TRUST + '[topology]\nprovider = "patroni"\n'


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            PATRONI + '[[backends.pools]]\nname = "a"\nhost = "/run/postgresql"\n',
            "topology.patroni.urls: expected the URL of a member, as no backend is reached over TCP",
        ),
        (
            PATRONI + BACKEND + '[topology.patroni]\nurls = ["http://h:8008", "h:8008"]\n',
            'topology.patroni.urls: "h:8008": expected http:// or https:// in entry 1',
        ),
        (
            PATRONI + BACKEND + '[topology.patroni]\npassword = "secret"\n',
            "topology.patroni.user: expected the user whose password is given",
        ),
        (
            PATRONI + BACKEND + '[topology.patroni]\ncert_file = "/dev/null"\n',
            "topology.patroni.key_file: expected a file, as cert_file is given",
        ),
    ],
)
def test_patroni_needs_what_it_needs(text: str, line: str) -> None:
    """An address, and halves of pairs only with the other half."""
    assert lines(text) == [f"helios.toml: {line}"]


def test_patroni_is_found_at_the_backends() -> None:
    """Without addresses of its own."""
    assert lines(PATRONI + BACKEND) == []
