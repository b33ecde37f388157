"""What a session has SET, against a model that copies everything at each step (rules 6, 7, 13)."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from helios_trio.session.settings import TransactionalState
from helios_trio.sql.facts import SettingChange
from helios_trio.sql.kinds import ChangeKind, Scope

IDENTITY = ("role", "session_authorization")
NAMES = ("work_mem", "timezone", "app.tenant_id", *IDENTITY)


@define
class Server:
    """Session parameters as PostgreSQL keeps them: copies of everything, and nothing clever."""

    start: dict[str, str]
    values: dict[str, str] = field(init=False)
    channels: set[str] = field(factory=set)
    saved: tuple[dict[str, str], set[str]] | None = None
    savepoints: list[tuple[str, dict[str, str], set[str]]] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.values = dict(self.start)

    def set(self, name: str, value: str | None) -> None:
        """SET or RESET."""
        if value is not None:
            self.values[name] = value
        elif name in self.start:
            self.values[name] = self.start[name]
        else:
            self.values.pop(name, None)
        if name == "session_authorization":
            self.values.pop("role", None)

    def reset_all(self) -> None:
        """RESET ALL."""
        kept = {name: self.values[name] for name in IDENTITY if name in self.values}
        self.values = {**self.start, **kept}

    def begin(self) -> None:
        """BEGIN, or the implicit one of a statement."""
        self.saved = (dict(self.values), set(self.channels))

    def end(self, *, committed: bool) -> None:
        """COMMIT or ROLLBACK."""
        if not committed and self.saved is not None:
            self.values, self.channels = dict(self.saved[0]), set(self.saved[1])
        self.saved = None
        self.savepoints.clear()

    def find(self, name: str) -> int | None:
        """The newest savepoint of that name."""
        found = [at for at, savepoint in enumerate(self.savepoints) if savepoint[0] == name]
        return found[-1] if found else None


def change(name: str, value: str | None, scope: Scope = Scope.SESSION) -> SettingChange:
    """SET, or RESET when there is no value."""
    return SettingChange(name, value, scope, ChangeKind.SET if value is not None else ChangeKind.RESET)


RESET_ALL = SettingChange("", None, Scope.SESSION, ChangeKind.RESET_ALL)

STATEMENTS = st.one_of(
    st.tuples(st.just("set"), st.sampled_from(NAMES), st.sampled_from(["a", "b", "c"])),
    st.tuples(st.just("reset"), st.sampled_from(NAMES), st.none()),
    st.tuples(st.just("local"), st.sampled_from(NAMES), st.sampled_from(["a", "b"])),
    st.tuples(st.just("reset all"), st.none(), st.none()),
    st.tuples(st.just("listen"), st.sampled_from(["one", "two"]), st.none()),
    st.tuples(st.just("unlisten"), st.sampled_from(["one", "two", None]), st.none()),
    st.tuples(
        st.sampled_from(["savepoint", "release", "rollback to"]), st.sampled_from(["s", "t"]), st.none()
    ),
)
Statement = tuple[str, str | None, str | None]
#: statements of one transaction, whether it is committed
UNITS = st.lists(st.tuples(st.lists(STATEMENTS, max_size=7), st.booleans()), max_size=5)
LABELS = st.dictionaries(st.sampled_from(NAMES[:3]), st.sampled_from(["a", "b"]), max_size=3)


def run(statement: Statement, state: TransactionalState, servers: list[Server]) -> None:
    """Do it to the state and to the models."""
    what, name, value = statement
    match what:
        case "set" | "reset":
            state.change(change(str(name), value))
            for server in servers:
                server.set(str(name), value)
        case "local":
            state.change(change(str(name), value, Scope.TRANSACTION))
        case "reset all":
            state.change(RESET_ALL)
            for server in servers:
                server.reset_all()
        case "listen":
            state.listen(str(name))
            for server in servers:
                server.channels.add(str(name))
        case "unlisten":
            state.unlisten(name)
            for server in servers:
                server.channels -= server.channels if name is None else {name}
        case "savepoint":
            state.savepoint(str(name))
            for server in servers:
                server.savepoints.append((str(name), dict(server.values), set(server.channels)))
        case "release":
            state.release(str(name))
            for server in servers:
                if (at := server.find(str(name))) is not None:
                    del server.savepoints[at:]
        case "rollback to":
            state.rollback_to(str(name))
            for server in servers:
                if (at := server.find(str(name))) is not None:
                    _, values, channels = server.savepoints[at]
                    server.values, server.channels = dict(values), set(channels)
                    del server.savepoints[at + 1 :]


@given(LABELS, LABELS, UNITS)
def test_settings_follow_transactions_and_savepoints(
    startup: dict[str, str], base: dict[str, str], units: list[tuple[list[Statement], bool]]
) -> None:
    """Rules 6 and 13: what the client believes and what the connection carries, each as its own server would."""
    state = TransactionalState.at_start(startup)
    state.adopt(base, base)
    believed, carried = Server(startup), Server(base)
    for statements, committed in units:
        believed.begin()
        carried.begin()
        before = dict(believed.values), dict(carried.values)
        for statement in statements:
            run(statement, state, [believed, carried])
            assert (state.now.wanted, state.now.actual) == (believed.values, carried.values)
            assert state.following or (believed.values, carried.values) == before
            assert state.differs is (believed.values != carried.values)
        state.reported({})
        if committed:
            state.commit()
        else:
            state.rollback()
        believed.end(committed=committed)
        carried.end(committed=committed)
        assert (state.now.wanted, state.now.actual) == (believed.values, carried.values)
        assert state.listening == believed.channels
        assert not state.following


@given(LABELS, LABELS, st.lists(STATEMENTS, max_size=7))
def test_discard_all_goes_back_to_the_start(
    startup: dict[str, str], base: dict[str, str], statements: list[Statement]
) -> None:
    """Rule 6: to the client's own start-up values, and the connection to those it was opened with."""
    state = TransactionalState.at_start(startup)
    state.adopt(base, base)
    for statement in statements:
        run(statement, state, [])
        state.reported({})
        state.commit()
    state.discard_all()
    assert (state.now.wanted, state.now.actual) == (startup, base)
    assert state.listening == frozenset()
    assert not state.following


@given(LABELS, LABELS, LABELS)
def test_a_connection_that_carries_the_same_needs_nothing(
    startup: dict[str, str], base: dict[str, str], carried: dict[str, str]
) -> None:
    """Equal settings count as equal, whoever made the dictionaries."""
    state = TransactionalState.at_start(startup)
    state.adopt(base, carried)
    assert state.differs is (startup != carried)
    state.applied()
    assert not state.differs
    assert state.now.wanted == startup


def reported_after(value: str, report: Mapping[str, str]) -> TransactionalState:
    """SET timezone and what the server says of it."""
    state = TransactionalState.at_start({})
    state.change(change("timezone", value))
    state.reported(report)
    return state


def test_the_servers_spelling_is_kept() -> None:
    """Rule 6: the value PostgreSQL reports is the one to set again."""
    state = reported_after("utc", {"timezone": "UTC"})
    state.commit()
    assert state.now.wanted == {"timezone": "UTC"}
    assert not state.differs


def test_a_local_value_is_not_taken_for_the_sessions() -> None:
    """What the server reports under SET LOCAL ends with the transaction."""
    state = TransactionalState.at_start({})
    state.change(change("timezone", "utc"))
    state.change(change("timezone", "CET", Scope.TRANSACTION))
    state.reported({"timezone": "CET"})
    state.commit()
    assert state.now.wanted == {"timezone": "utc"}


def test_a_rollback_takes_the_spelling_back_too() -> None:
    """Rule 6: after ROLLBACK nothing of it is left."""
    state = reported_after("utc", {"timezone": "UTC"})
    state.rollback()
    assert state.now.wanted == {}


def test_listen_counts_from_the_commit_on() -> None:
    """Rule 13: neither LISTEN nor UNLISTEN is in force before."""
    state = TransactionalState.at_start({})
    state.listen("jobs")
    assert state.listening == frozenset()
    state.commit()
    assert state.listening == {"jobs"}
    state.unlisten(None)
    assert state.listening == {"jobs"}
    state.commit()
    assert state.listening == frozenset()
