"""`python -m helios_trio serve` as a process of a test, without an event loop: for session fixtures of any
kind.

The process is the real one, ports are free ones, and whatever happens it is gone at the end: SIGTERM
first, SIGKILL of that one pid when it does not listen. Its output is kept in a file, so that a failing
test can show what the proxy said meanwhile (`ProxyProcess.log_since`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from attrs import field, frozen

_POLL_SECONDS: Final = 0.02
_LOG_TAIL: Final = 8000


class ProxyDidNotStart(Exception):
    """The proxy ended, or was not ready in time; the message has the end of its output."""


@frozen
class ProxyProcess:
    """A running proxy: where it and its admin listener can be reached, and what its ready file says."""

    host: str
    port: int
    admin: tuple[str, int] | None
    pid: int
    ready: Mapping[str, Any] = field(repr=False)
    log_file: Path = field(repr=False)
    process: subprocess.Popen[bytes] = field(repr=False, eq=False)

    def dsn(self, user: str = "postgres", database: str = "postgres") -> str:
        """A libpq connection string."""
        return f"host={self.host} port={self.port} user={user} dbname={database}"

    @property
    def running(self) -> bool:
        """Whether the process is still there."""
        return self.process.poll() is None

    def log_size(self) -> int:
        """A mark in its output, in bytes, for `log_since`."""
        return self.log_file.stat().st_size

    def log_since(self, mark: int = 0) -> str:
        """What it has written since the mark, the end of it where it is long."""
        return self.log_file.read_bytes()[mark:][-_LOG_TAIL:].decode(errors="replace")


@contextmanager
def running_proxy(
    config: str,
    arguments: tuple[str, ...] = (),
    environment: Mapping[str, str] | None = None,
    ready_seconds: float = 30.0,
    stop_seconds: float = 10.0,
    module: str = "helios_trio",
) -> Iterator[ProxyProcess]:
    """A proxy with this configuration (TOML), on free ports, until the block ends.

    Raises `ProxyDidNotStart`. `stop_seconds` is how long SIGTERM may take before SIGKILL follows; `module` is what
    `python -m` runs.
    """
    with tempfile.TemporaryDirectory(prefix="helios-proxy-") as folder:
        root = Path(folder)
        (root / "helios.toml").write_text(config)
        process = _spawn(module, root, arguments, environment or {})
        try:
            ready = _wait_until_ready(process, root, ready_seconds)
            yield _describe(process, root, ready)
        finally:
            _stop(process, stop_seconds)


def _spawn(
    module: str, root: Path, arguments: tuple[str, ...], environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", module, "serve", "--config", str(root / "helios.toml")]
    command += ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
    command += ["--ready-file", str(root / "ready.json"), *arguments]
    with (root / "log").open("wb") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
        )


def _wait_until_ready(process: subprocess.Popen[bytes], root: Path, seconds: float) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        ready = _read_ready(root / "ready.json")
        if ready is not None:
            return ready
        time.sleep(_POLL_SECONDS)
    what = "not ready in time" if process.poll() is None else f"exit status {process.returncode}"
    output = (root / "log").read_bytes()[-_LOG_TAIL:].decode(errors="replace")
    raise ProxyDidNotStart(f"{what}; it wrote:\n{output}")


def _read_ready(path: Path) -> dict[str, Any] | None:
    """The ready file's content; None while it is not there, or only in part."""
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return found if isinstance(found, dict) else None


def _describe(process: subprocess.Popen[bytes], root: Path, ready: Mapping[str, Any]) -> ProxyProcess:
    host, port = _address(ready["listen"])
    admin = _address(ready["admin"]) if ready.get("admin") else None
    return ProxyProcess(host, port, admin, process.pid, ready, root / "log", process)


def _address(value: str | list[str]) -> tuple[str, int]:
    """Host and port of the first address; the admin's may be a URL."""
    first = value if isinstance(value, str) else value[0]
    host, _, port = first.rpartition("://")[2].rstrip("/").rpartition(":")
    return host.strip("[]"), int(port)


def _stop(process: subprocess.Popen[bytes], seconds: float) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
