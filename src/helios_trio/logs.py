"""The log: structlog's events and the standard library's in one form, without secrets (correctness rule 39).

Both go through one handler of the standard library's root logger. Events carry what was bound with
`structlog.contextvars` (session, user, database, backend), the name of their module, and the time in UTC. On
a terminal they are lines for people, elsewhere one JSON object each.

Used by: cli and app, nobody else; others call `structlog.get_logger(__name__)`.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any, Final, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from helios_trio.config.secret import MASK
from helios_trio.config.words import LogFormat, LogLevel

#: Words that make the value of a key a secret, wherever they stand in its name.
SECRET_WORDS: Final = (
    "passw",
    "passphrase",
    "secret",
    "token",
    "scram",
    "authorization",
    "api_key",
    "apikey",
    "private_key",
    "credential",
    "cookie",
    "verifier",
)

# Texts may be as long as clients like: no pattern looks at a character more often than a bounded number of
# times.
_SECRET_KEY: Final = re.compile("|".join(SECRET_WORDS), re.IGNORECASE)
_KEY_VALUE: Final = re.compile(
    r"""(?P<kept>(?:passw(?:or)?d|passphrase|secret|token|api_?key)\w{0,40}["']?\s*[=:]\s*)"""
    r"""(?:'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.)*"|[^\s,;&'"]+)""",
    re.IGNORECASE,
)
_PATTERNS: Final = (
    (_KEY_VALUE, rf"\g<kept>{MASK}"),
    # the password in a URL
    (
        re.compile(r"(?P<kept>\b[a-z][a-z0-9+.-]{0,30}://[^\s:/@]*:)[^\s@/]*(?=@)", re.IGNORECASE),
        rf"\g<kept>{MASK}",
    ),
    # what pg_authid stores, and PgBouncer's auth_file
    (re.compile(r"SCRAM-SHA-256\$[0-9]+:[A-Za-z0-9+/=$:]+"), MASK),
    (re.compile(r"\bmd5[0-9a-f]{32}\b"), MASK),
    # headers of HTTP
    (re.compile(r"(?P<kept>\b(?:Bearer|Basic)\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE), rf"\g<kept>{MASK}"),
)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_CONTROL_OR_NEWLINE: Final = re.compile(rf"{_CONTROL.pattern}|\n")
#: Loggers of the standard library that tell at INFO what we tell better; httpx tells URLs, some of which are secrets.
_QUIET: Final = ("hypercorn.error", "hypercorn.access", "quart.app", "quart.serving", "httpx", "httpcore")


def configure(level: LogLevel, log_format: LogFormat, stream: TextIO | None = None) -> None:
    """Write events of at least `level` to `stream` (default: standard error); a reload calls it again."""
    out = sys.stderr if stream is None else stream
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*_shared(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_shared(),
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendering(_is_for_people(log_format, out), colours=out.isatty()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Processor: masks values whose keys name a secret, and secrets inside of texts, at any depth."""
    for key, value in event.items():
        event[key] = _redacted(key, value)
    return event


def _redacted(key: object, value: Any) -> Any:
    if isinstance(key, str) and _SECRET_KEY.search(key) and value is not None:
        return MASK
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return redact_text(str(value))
        case Mapping():
            return {name: _redacted(name, each) for name, each in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_redacted(None, each) for each in value]
        case _:
            return redact_text(str(value))


def redact_text(text: str) -> str:
    """A text without the secrets in it that can be told by their form."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def _shared() -> list[Processor]:
    """What is done to every event, whichever library it comes from."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _rendering(for_people: bool, *, colours: bool) -> list[Processor]:
    """From an event to a line. Tracebacks become text before secrets are looked for."""
    if not for_people:
        render: list[Processor] = [_order, structlog.processors.JSONRenderer(ensure_ascii=False, default=str)]
    else:
        plain = structlog.dev.plain_traceback
        render = [_escape, structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=plain)]
    return [structlog.processors.StackInfoRenderer(), structlog.processors.format_exc_info, redact, *render]


def _order(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The same keys first in every line, so that people can read JSON too."""
    first = ("timestamp", "level", "logger", "event")
    return {**{key: event[key] for key in first if key in event}, **event}


def _escape(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Names that clients choose must not speak to the operator's terminal."""
    for key, value in event.items():
        if isinstance(value, str):
            pattern = _CONTROL_OR_NEWLINE if key == "event" else _CONTROL
            event[key] = pattern.sub(lambda found: repr(found[0])[1:-1], value)
    return event


def _is_for_people(log_format: LogFormat, out: TextIO) -> bool:
    return log_format is LogFormat.CONSOLE or (log_format is LogFormat.AUTO and out.isatty())
