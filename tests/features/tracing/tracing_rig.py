"""A collector that takes spans by OTLP over HTTP, on Trio, and says what it is told to say."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import trio
from attrs import define, field
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

DEADLINE = 20.0


def plain(value: AnyValue) -> Any:
    return getattr(value, str(value.WhichOneof("value")))


@define
class Told:
    """One span as it arrived."""

    span: Span
    resource: dict[str, Any]

    @property
    def name(self) -> str:
        return self.span.name

    @property
    def attributes(self) -> dict[str, Any]:
        return {each.key: plain(each.value) for each in self.span.attributes}

    @property
    def operation(self) -> str | None:
        found: str | None = self.attributes.get("db.operation.name")
        return found

    @property
    def failed(self) -> bool:
        return self.span.status.code == Status.STATUS_CODE_ERROR

    @property
    def trace(self) -> tuple[str, str]:
        """Ids of the trace and of the parent."""
        return self.span.trace_id.hex(), self.span.parent_span_id.hex()

    @property
    def seconds(self) -> float:
        return (self.span.end_time_unix_nano - self.span.start_time_unix_nano) / 1e9


@define
class Reply:
    """What the collector says to one request."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


@define(eq=False)
class Collector:
    """See the module."""

    port: int = 0
    spans: list[Told] = field(factory=list)
    heads: list[str] = field(factory=list)
    #: answers in order; after that all is taken
    replies: deque[Reply] = field(factory=deque)
    #: requests that have come, answered or not
    asked: int = 0
    #: closed while it takes its time
    gate: trio.Event | None = None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            serve = partial(trio.serve_tcp, self._serve, self.port, host="127.0.0.1")
            listeners = await nursery.start(serve)
            self.port = listeners[0].socket.getsockname()[1]
            task_status.started()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            data = b""
            while b"\r\n\r\n" not in data:
                if not (more := await stream.receive_some()):
                    return
                data += more
            head, _, body = data.partition(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            sizes = [line.split(":")[1] for line in lines if line.lower().startswith("content-length:")]
            while len(body) < int(sizes[0]):
                body += await stream.receive_some()
            self.asked += 1
            if self.gate is not None:
                await self.gate.wait()
            self.heads.append(head.decode())
            reply = self.replies.popleft() if self.replies else Reply()
            if reply.status == 200:
                self._note(body)
            said = [f"HTTP/1.1 {reply.status} x", f"Content-Length: {len(reply.body)}", "Connection: close"]
            said += [f"{name}: {value}" for name, value in reply.headers]
            await stream.send_all("\r\n".join([*said, "", ""]).encode() + reply.body)

    def _note(self, body: bytes) -> None:
        for each in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = {pair.key: plain(pair.value) for pair in each.resource.attributes}
            for scope in each.scope_spans:
                assert scope.scope.name == "helios_trio"
                self.spans += [Told(span, resource) for span in scope.spans]

    def of(self, application: str, number: int) -> list[Told]:
        """Spans of the database of that name, once there are so many of them."""

        def found() -> list[Told]:
            return [each for each in list(self.spans) if each.attributes["db.namespace"] == application]

        until(lambda: len(found()) >= number, f"{number} spans, there are {[each.name for each in found()]}")
        return found()


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


@contextmanager
def running_collector() -> Iterator[Collector]:
    """A collector in a thread of its own, until the block ends."""
    collector, ready = Collector(), threading.Event()
    scope = trio.CancelScope()
    token: list[trio.lowlevel.TrioToken] = []

    async def main() -> None:
        token.append(trio.lowlevel.current_trio_token())
        with scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(collector.run)
                ready.set()

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    assert ready.wait(DEADLINE)
    try:
        yield collector
    finally:
        token[0].run_sync_soon(scope.cancel)
        thread.join()
