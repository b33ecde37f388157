"""node-postgres: driven in a process of its own that reads and writes one JSON object a line.

The package is installed with npm into a folder in the user's cache, once; without npm, or when the package
cannot be had, `find_node_postgres` says why and the tests are skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .adapter import Adapter, Endpoint, Row, Session

PACKAGE = "pg@8"
SERVER = Path(__file__).with_name("node_server.js")
INSTALL_SECONDS = 90


class NodeUnavailable(Exception):
    """node, npm or the package cannot be had."""


class NodeError(Exception):
    """An error that node-postgres raised."""

    def __init__(self, message: str, code: str | None) -> None:
        super().__init__(message)
        self.code = code


def find_node_postgres() -> Path:
    """The folder with node-postgres in its `node_modules`. Raises `NodeUnavailable`."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise NodeUnavailable("node and npm are needed")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "helios-trio-tests" / "node"
    if not (cache / "node_modules" / "pg" / "package.json").exists():
        _install(cache)
    return cache


def _install(cache: Path) -> None:
    """Install beside the place and move there whole, because another worker may do the same."""
    ours = cache.with_name(f"node-{os.getpid()}")
    ours.mkdir(parents=True)
    try:
        command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(ours), PACKAGE]
        subprocess.run(command, check=True, capture_output=True, timeout=INSTALL_SECONDS)
        ours.rename(cache)
    except (subprocess.SubprocessError, OSError) as error:
        shutil.rmtree(ours, ignore_errors=True)
        if not (cache / "node_modules" / "pg" / "package.json").exists():
            raise NodeUnavailable(f"npm could not install {PACKAGE}: {error}") from error


class NodeSession(Session):
    def __init__(self, ask: Callable[..., Any], number: int) -> None:
        self._ask = ask
        self._number = number
        self._prepared = 0

    def _do(self, what: str, **more: Any) -> Any:
        return self._ask(what=what, session=self._number, **more)

    def query(self, sql: str, *parameters: Any) -> list[Row]:
        return [tuple(row) for row in self._do("query", sql=sql, parameters=parameters)["rows"]]

    def execute(self, sql: str, *parameters: Any) -> Any:
        found = self._do("query", sql=sql, parameters=parameters)
        return found["command"], found["count"]

    def script(self, sql: str) -> None:
        self._do("script", sql=sql)

    @contextmanager
    def transaction(self, isolation: str | None = None) -> Iterator[None]:
        self.script(f"begin isolation level {isolation}" if isolation else "begin")
        try:
            yield
        except BaseException:
            self.script("rollback")
            raise
        self.script("commit")

    def prepare(self, sql: str) -> Callable[..., list[Row]]:
        self._prepared += 1
        name = f"prepared{self._prepared}"
        return lambda *parameters: [
            tuple(row) for row in self._do("query", sql=sql, parameters=parameters, name=name)["rows"]
        ]

    def notifications(self, count: int) -> list[tuple[str, str]]:
        return [(channel, payload) for channel, payload in self._do("notifications", count=count)]

    def notices(self) -> list[str]:
        return list(self._do("notices"))

    def close(self) -> None:
        self._do("close")


class NodePostgres(Adapter):
    name = "node-postgres"
    can = frozenset({"prepare", "listen", "notices", "script"})

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            ["node", str(SERVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "NODE_PATH": str(folder / "node_modules")},
        )
        self._sessions = 0

    def _ask(self, **request: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request, default=str) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise NodeError(answer["error"], answer["code"])
        return answer["value"]

    def connect(self, endpoint: Endpoint, **settings: str) -> Session:
        self._sessions += 1
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        where = {
            "host": endpoint.host,
            "port": endpoint.port,
            "user": endpoint.user,
            "database": endpoint.database,
        }
        self._ask(what="connect", session=self._sessions, options={**where, "options": options})
        return NodeSession(self._ask, self._sessions)

    def sqlstate(self, error: BaseException) -> str | None:
        return error.code if isinstance(error, NodeError) else None

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
