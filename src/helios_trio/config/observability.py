"""`[observability]`: the log of queries, and traces for OpenTelemetry. Both are off by default."""

from __future__ import annotations

import enum
import re
from typing import Annotated, Final
from urllib.parse import urlsplit

from attrs import frozen

from helios_trio.config.keys import key
from helios_trio.config.kinds import Choice, Expected, Kind, Name, PositiveCount, Switch
from helios_trio.config.secret import MASK, Secret

#: A header's name and value (RFC 9110, section 5).
_HEADER: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([!-~](?:[ \t!-~]*[!-~])?)[ \t]*", re.ASCII)
_VISIBLE: Final = re.compile(r"[!-~]+", re.ASCII)


class LogQueries(enum.StrEnum):
    """Which requests of clients are logged."""

    NONE = "none"
    SLOW = "slow"
    ALL = "all"


@frozen
class CollectorUrl(Kind):
    """Where a collector listens; http too, as most are in the same network, and requests carry no literals."""

    expected = "a URL that begins with http:// or https://, without user, query or fragment"

    def from_text(self, text: str) -> str:
        parts = urlsplit(text)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        if not sound or "@" in parts.netloc or set("?#") & set(text) or _VISIBLE.fullmatch(text) is None:
            raise ValueError(text)
        return text


@frozen
class HiddenHeaders(Kind):
    """Headers of HTTP whose values are shown nowhere: a list of strings."""

    expected = 'a list of headers, as ["Authorization: Bearer ..."] (kept secret)'
    textual = False
    secret = True

    def read(self, value: object) -> tuple[tuple[str, Secret], ...]:
        if not isinstance(value, list):
            raise Expected(self.expected)
        found = [_HEADER.fullmatch(each) if isinstance(each, str) else None for each in value]
        if not all(found):
            raise Expected(self.expected)
        return tuple((match[1], Secret(match[2])) for match in found if match is not None)

    def write(self, value: tuple[tuple[str, Secret], ...]) -> list[str]:
        return [f"{name}: {MASK}" for name, _ in value]


@frozen
class Share(Kind):
    """A share of a whole: from 0 to 1."""

    expected = "a number from 0 to 1"
    textual = False

    def read(self, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise Expected(self.expected)
        return float(value)

    def write(self, value: float) -> float:
        return float(value)


LogQueriesWord = Annotated[LogQueries, Choice(LogQueries)]
CollectorAddress = Annotated[str, CollectorUrl()]
Headers = Annotated[tuple[tuple[str, Secret], ...], HiddenHeaders()]
Ratio = Annotated[float, Share()]


@frozen(kw_only=True)
class ObservabilitySettings:
    """What is told of single requests: a line in the log, a span in a trace. See docs/tracing.md."""

    slow_query_threshold_ms: PositiveCount = key(
        100, "milliseconds from which on a request is slow, waiting for a server connection included"
    )
    log_queries: LogQueriesWord = key(
        LogQueries.NONE,
        "none, slow ones or all requests are logged, by the logger helios_trio.queries; all costs much",
        live=False,
    )
    log_literals: Switch = key(
        False,
        "false: constants in logged statements are replaced by $1, $2...; true: statements are logged as they came",
    )
    otlp_endpoint: CollectorAddress | None = key(
        None,
        "base URL of a collector that takes traces by OTLP over HTTP (protobuf); absent: there are no traces. Needs "
        "the extra helios-trio[otel]",
        example="http://127.0.0.1:4318",
        live=False,
    )
    trace_sample_ratio: Ratio = key(
        0.01,
        "share of the requests without a traceparent of their client that get a span; those with one do as it says",
    )
    trace_query_text: Switch = key(
        False, "spans have the text of the statement, with constants replaced by $1, $2..."
    )
    trace_headers: Headers = key(
        (), "headers sent to the collector with all spans, as Name: value; kept secret", live=False
    )
    service_name: Name = key("helios", "service.name of the spans", live=False)

    @property
    def traces(self) -> bool:
        """Whether there are traces."""
        return self.otlp_endpoint is not None

    @property
    def observes(self) -> bool:
        """Whether single requests are looked at, for whatever purpose."""
        return self.traces or self.log_queries is not LogQueries.NONE
