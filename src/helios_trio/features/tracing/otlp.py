"""Spans as OTLP wants them: protobuf messages with the names of OpenTelemetry's semantic conventions for databases.

Needs the package opentelemetry-proto (extra `otel`), so nobody imports this unless there are traces.

A span is of kind CLIENT, as the conventions have it of whoever calls a database; it has no literals, and no message of
an error, as PostgreSQL puts values into those.

Used by: features.tracing.exporter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from attrs import frozen
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from helios_trio import __version__
from helios_trio.features.tracing.observer import ServedRequest

Value = str | int | float

#: Version of the conventions whose names are used.
SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.34.0"
_SYSTEM: Final = "postgresql"
_SAMPLED: Final = 1
#: Characters of a statement that a span has at most.
_TEXT: Final = 4096


@frozen(kw_only=True)
class Encoder:
    """Knows what all spans have in common."""

    service_name: str
    #: of this process among others of the service
    instance: str
    with_text: bool = False

    def encode(self, requests: Sequence[ServedRequest]) -> bytes:
        """An ExportTraceServiceRequest. Two of them, one behind the other, are one with the spans of both."""
        scope = InstrumentationScope(name="helios_trio", version=__version__)
        spans = ScopeSpans(scope=scope, spans=map(self._span, requests), schema_url=SCHEMA_URL)
        resource = Resource(attributes=_pairs(self._resource()))
        whole = ResourceSpans(resource=resource, scope_spans=[spans], schema_url=SCHEMA_URL)
        return bytes(ExportTraceServiceRequest(resource_spans=[whole]).SerializeToString())

    def _resource(self) -> Mapping[str, Value]:
        return {
            "service.name": self.service_name,
            "service.version": __version__,
            "service.instance.id": self.instance,
        }

    def _span(self, served: ServedRequest) -> Span:
        parent, failed = served.parent, served.sqlstate or served.failure
        return Span(
            trace_id=bytes.fromhex(served.trace_id),
            span_id=bytes.fromhex(served.span_id),
            parent_span_id=b"" if parent is None else bytes.fromhex(parent.span_id),
            flags=_SAMPLED,
            name=_printable(f"{served.operation} {served.database}".strip()) or _SYSTEM,
            kind=Span.SPAN_KIND_CLIENT,
            start_time_unix_nano=max(0, served.ended_at - int(1e9 * served.seconds)),
            end_time_unix_nano=served.ended_at,
            attributes=_pairs(self._attributes(served)),
            status=Status(code=Status.STATUS_CODE_ERROR) if failed else None,
        )

    def _attributes(self, served: ServedRequest) -> Mapping[str, Value]:
        found: dict[str, Value | None] = {
            "db.system.name": _SYSTEM,
            "db.namespace": served.database,
            "db.operation.name": served.operation or None,
            "db.operation.batch.size": served.statements if served.statements > 1 else None,
            "db.response.status_code": served.sqlstate or None,
            "error.type": served.sqlstate or served.failure or None,
            "helios.session": served.session,
            "helios.wait_seconds": served.waited,
            "helios.backend_seconds": served.at_backend,
        }
        if (backend := served.backend) is not None:
            found["server.address"], found["server.port"] = backend.host, backend.port
            found["helios.route"] = f"{backend.name}: {served.route}" if served.route else backend.name
        if self.with_text and served.facts is not None:
            text = served.facts.normalised
            found["db.query.text"] = None if text is None else text[:_TEXT]
        return {name: value for name, value in found.items() if value is not None}


def rejected(answer: bytes) -> tuple[int, str]:
    """How many spans a collector has refused although it took the rest, and why. Raises ValueError: it is no answer."""
    try:
        partial = ExportTraceServiceResponse.FromString(answer).partial_success
    except Exception as error:  # protobuf's own DecodeError derives from nothing else
        raise ValueError("not an ExportTraceServiceResponse") from error
    return max(0, partial.rejected_spans), partial.error_message


def _printable(text: str) -> str:
    """Names that clients choose need not be Unicode."""
    return text.encode("utf-8", "replace").decode()


def _pairs(values: Mapping[str, Value]) -> Iterator[KeyValue]:
    for name, value in values.items():
        pair = KeyValue(key=name)
        if isinstance(value, str):
            pair.value.string_value = _printable(value)
        elif isinstance(value, int):
            pair.value.int_value = value
        else:
            pair.value.double_value = value
        yield pair
