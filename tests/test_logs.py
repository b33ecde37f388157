"""The log: form, times, levels, context, and no secrets (rule 39)."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from helios_trio.config.secret import MASK, Secret
from helios_trio.config.words import LogFormat, LogLevel
from helios_trio.logs import SECRET_WORDS, configure, redact, redact_text

VERIFIER = "SCRAM-SHA-256$4096:c2FsdHNhbHQ=$Zm9vYmFy:YmFyZm9v"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    """Leave logging as it was for other tests."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = handlers
    root.setLevel(level)


def lines_of(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def logged(**values: object) -> dict[str, Any]:
    """One event as it comes out in JSON."""
    stream = io.StringIO()
    configure(LogLevel.INFO, LogFormat.JSON, stream)
    structlog.get_logger("test").info("event", **values)
    [line] = lines_of(stream)
    return line


def test_json_lines() -> None:
    """One object per event, in a fixed order, with module, level and a time in UTC (RFC 3339)."""
    line = logged(client="10.0.0.1:5000", sqlstate="28P01", duration=0.25)
    assert list(line) == ["timestamp", "level", "logger", "event", "client", "sqlstate", "duration"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line.pop("timestamp"))
    assert line == {
        "level": "info",
        "logger": "test",
        "event": "event",
        "client": "10.0.0.1:5000",
        "sqlstate": "28P01",
        "duration": 0.25,
    }


def test_auto_is_json_unless_on_a_terminal() -> None:
    """People get lines, programs get JSON."""
    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        configure(LogLevel.INFO, LogFormat.AUTO, stream)
        structlog.get_logger("test").info("hello", user="alice")
    assert lines_of(pipe)[0]["user"] == "alice"
    assert "hello" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")


def test_console_can_be_asked_for() -> None:
    """Without a terminal there are no colours."""
    stream = io.StringIO()
    configure(LogLevel.INFO, LogFormat.CONSOLE, stream)
    structlog.get_logger("test").warning("hello", user="alice")
    assert "user=alice" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_level_can_be_changed_by_a_reload() -> None:
    """Also for loggers that were there before."""
    stream = io.StringIO()
    log = structlog.get_logger("test")
    configure(LogLevel.WARNING, LogFormat.JSON, stream)
    log.info("no")
    logging.getLogger("other").info("no")
    configure(LogLevel.DEBUG, LogFormat.JSON, stream)
    log.debug("yes")
    logging.getLogger("other").debug("yes too")
    assert [line["event"] for line in lines_of(stream)] == ["yes", "yes too"]


def test_context_is_added_to_both_kinds() -> None:
    """What a session bound stands in every event below it, and is gone after it."""
    stream = io.StringIO()
    configure(LogLevel.INFO, LogFormat.JSON, stream)
    with structlog.contextvars.bound_contextvars(session=7, user="alice", database="shop", backend="node1"):
        structlog.get_logger("test").info("ours")
        logging.getLogger("hypercorn.error").warning("theirs %d", 5)
    structlog.get_logger("test").info("after")
    ours, theirs, after = lines_of(stream)
    context = {"session": 7, "user": "alice", "database": "shop", "backend": "node1"}
    assert {key: ours.get(key) for key in context} == context
    assert {key: theirs.get(key) for key in context} == context
    assert (theirs["event"], theirs["logger"], theirs["level"]) == ("theirs 5", "hypercorn.error", "warning")
    assert after.get("session") is None


def test_chatter_of_the_http_server_is_left_out() -> None:
    """Warnings of it are not."""
    stream = io.StringIO()
    configure(LogLevel.DEBUG, LogFormat.JSON, stream)
    logging.getLogger("hypercorn.error").info("Running on http://127.0.0.1:9090")
    logging.getLogger("hypercorn.error").warning("trouble")
    assert [line["event"] for line in lines_of(stream)] == ["trouble"]


@pytest.mark.parametrize(
    "word", [*SECRET_WORDS, "password", "db_passwd", "X-API-Key".replace("-", "_"), "scram_keys"]
)
def test_secret_keys_are_masked(word: str) -> None:
    """Whatever stands under such a key, at any depth, in any spelling."""
    line = logged(
        **{word: "hunter2", "outer": {word.upper(): ["hunter2"], "list": [{f"my_{word}_1": "hunter2"}]}}
    )
    assert "hunter2" not in json.dumps(line)
    assert line[word] == MASK
    assert line["outer"][word.upper()] == MASK


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://alice:hunter2@db/shop",
        "connecting to host=db password=hunter2 user=alice",
        "host=db password='hunter2 \\' more' user=alice",
        "host=db password = hunter2",
        '{"password": "hunter2"}',
        "SSLPASSWORD=hunter2",
        "authorization: Bearer hunter2hunter2",
        "Basic hunter2hunter2==",
        "https://x/y?api_key=hunter2&z=1",
        "secret: hunter2",
    ],
)
def test_secrets_in_texts_are_masked(text: str) -> None:
    """In the event, in a value, in an exception, in an object's own text."""
    assert "hunter2" not in redact_text(text)
    line = logged(reason=text, error=ValueError(text), steps=[text])
    assert "hunter2" not in json.dumps(line)
    stream = io.StringIO()
    configure(LogLevel.INFO, LogFormat.CONSOLE, stream)
    structlog.get_logger("test").info(text)
    logging.getLogger("other").info("%s", text)
    assert "hunter2" not in stream.getvalue()


@pytest.mark.parametrize("text", [VERIFIER, "md5" + "0123456789abcdef" * 2])
def test_stored_passwords_are_masked(text: str) -> None:
    """What pg_authid and PgBouncer's auth_file hold is as good as a password."""
    line = logged(row=f'"alice" "{text}"')
    assert line["row"] == f'"alice" "{MASK}"'


@pytest.mark.parametrize(
    "text",
    [
        "password authentication failed for user alice",
        "http://127.0.0.1:9090/health",
        "cannot listen on 127.0.0.1:6432: address in use",
        "user=alice database=shop",
        "postgresql://alice@db:5432/shop",
        "SCRAM-SHA-256 is not supported",
    ],
)
def test_harmless_texts_are_left_alone(text: str) -> None:
    """A log that masks everything helps nobody."""
    assert redact_text(text) == text


def test_exceptions_are_redacted_and_show_no_variables() -> None:
    """A traceback is code and message; what was in variables stays there."""
    for log_format in (LogFormat.JSON, LogFormat.CONSOLE):
        stream = io.StringIO()
        configure(LogLevel.INFO, log_format, stream)
        variable = "hunter" + str(2)
        try:
            raise ValueError(f"bad conninfo: password={variable}")
        except ValueError:
            structlog.get_logger("test").exception("failed")
            logging.getLogger("other").exception("failed too")
        assert "hunter2" not in stream.getvalue()
        assert stream.getvalue().count("Traceback") == 2
        assert "bad conninfo" in stream.getvalue()


def test_secret_objects_stay_masked() -> None:
    """Objects are written by their own text."""
    line = logged(value=Secret("hunter2"), nested={"x": [Secret("hunter2")]})
    assert "hunter2" not in json.dumps(line)


def test_terminals_are_not_spoken_to() -> None:
    """A client's name may hold an escape sequence; the operator's terminal does not see it."""
    stream = Terminal()
    configure(LogLevel.INFO, LogFormat.CONSOLE, stream)
    structlog.get_logger("test").info("client refused", user="\x1b]0;owned\x07\r\x9b31m")
    assert "\x1b]" not in stream.getvalue()
    assert "\x07" not in stream.getvalue()
    assert "\r" not in stream.getvalue()
    assert "\x9b" not in stream.getvalue()
    assert "owned" in stream.getvalue()


def test_one_event_is_one_line_for_people_too() -> None:
    """A message of another library cannot forge a second event."""
    stream = io.StringIO()
    configure(LogLevel.INFO, LogFormat.CONSOLE, stream)
    logging.getLogger("other").info("bad request: %s", "x\n2026-01-01 [info] all is well")
    assert stream.getvalue().count("\n") == 1


@pytest.mark.parametrize(
    "piece", ["a.", "secret", "password ", "a://", "://:", "md5", "Bearer ", "SCRAM-SHA-256$1:", "'"]
)
def test_long_texts_are_redacted_in_linear_time(piece: str) -> None:
    """What clients send must not keep the proxy busy: a million characters come back (rule 5)."""
    assert redact_text(piece * (1_000_000 // len(piece)))


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), _values, max_size=4), st.sampled_from(SECRET_WORDS), st.text(), st.text())
def test_no_value_under_a_secret_key_survives(
    event: dict[str, Any], word: str, before: str, after: str
) -> None:
    """For any event: it is redacted without failing, and twice gives the same as once."""
    event[f"{before}{word}{after}"] = {"deep": ["hunter2"]}
    once = redact(None, "info", dict(event))
    assert once[f"{before}{word}{after}"] == MASK
    assert redact(None, "info", dict(once)) == once
