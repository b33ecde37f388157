"""schemathesis against the OpenAPI document of a live proxy: whatever is asked, the answer is one that is documented.

Statements run as a superuser, sessions are ended, sides drained and circuits opened; only the live stream, which never
ends, is left to tests of its own. Answers to wrong keys are too, because the proxy soon answers 429 to them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from helios_trio.admin.keys import Role, make_key
from helios_trio.testing.running import ProxyProcess, running_proxy

pytestmark = pytest.mark.cluster

CONFIG = """
[proxy]
state_dir = "{folder}"
[auth]
method = "trust"
[control]
user = "postgres"
[admin]
api_keys_file = "{folder}/keys"
max_requests_per_second = 1000000
[[backends.pools]]
name = "blue"
host = "{host}"
port = {port}
priority = 20
[[backends.pools]]
name = "green"
host = "{host}"
port = {port}
[routing]
read_write_split = true
[circuit_breaker]
enabled = true
[transparent_write_routing]
enabled = true
"""
#: What is right by the document may still be refused: nobody knows the backend, the statement is none.
EXPECTED = ["2xx", "403", "404", "409", "422"]
CHECKS = {"positive_data_acceptance": {"expected-statuses": EXPECTED}}
WITHOUT = "/api/v1/stream"


class Live:
    """A proxy, an operator's key, and the document."""

    def __init__(self, proxy: ProxyProcess, key: str, viewers_key: str) -> None:
        assert proxy.admin is not None
        self.proxy = proxy
        self.url = f"http://{proxy.admin[0]}:{proxy.admin[1]}"
        # all there are, or schemathesis would make up the other
        self.headers = _shown(key)
        self.viewers_headers = _shown(viewers_key)
        self.session = requests.Session()
        self.session.trust_env = False

    def operations(self, headers: dict[str, str] | None = None) -> Iterator[APIOperation]:
        """All that are documented; requests have these headers, or the operator's."""
        config = schemathesis.Config.from_dict({"checks": CHECKS})
        schema = schemathesis.openapi.from_dict(self.document(), config=config)
        schema.config.update(
            base_url=self.url, headers=self.headers if headers is None else headers, request_timeout=60.0
        )
        for found in schema.exclude(path=WITHOUT).get_all_operations():
            yield found.ok()

    def document(self) -> dict[str, Any]:
        answer = self.session.get(f"{self.url}/api/v1/openapi.json", headers=self.headers, timeout=60)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


def _shown(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", "X-API-Key": key}


@pytest.fixture(scope="module")
def live(direct_address: tuple[str, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """With everything switched on that has routes, and somebody connected."""
    load_all_checks()
    folder = tmp_path_factory.mktemp("fuzz")
    key, kept = make_key("fuzz", Role.OPERATOR, "postgres")
    viewers_key, viewers_kept = make_key("viewer", Role.VIEWER)
    (folder / "keys").write_text(f"{kept.line}\n{viewers_kept.line}\n")
    host, port = direct_address
    with (
        running_proxy(CONFIG.format(folder=folder, host=host, port=port)) as proxy,
        psycopg.connect(proxy.dsn(), autocommit=True) as client,
    ):
        client.execute("SELECT 1")
        yield Live(proxy, key, viewers_key)
        assert proxy.running


@pytest.mark.parametrize("mode", GenerationMode)
def test_some_requests(live: Live, subtests: pytest.Subtests, mode: GenerationMode) -> None:
    """A few of each kind, good or bad: no 5xx, and status, type and schema of the answer are documented."""
    for operation in live.operations():

        @settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
        @given(operation.as_strategy(mode, headers={}))
        def ask(case: Case) -> None:
            case.call_and_validate(session=live.session, headers=live.headers, excluded_checks=[ignored_auth])

        with (
            subtests.test(operation=operation.label),
            suppress(Unsatisfiable),
        ):  # nothing can be wrong with it
            ask()


@pytest.mark.parametrize("viewer", [False, True])
def test_some_requests_of_others(live: Live, subtests: pytest.Subtests, viewer: bool) -> None:
    """Whatever a viewer sends changes nothing; without a key there is nothing but what needs none."""
    headers = live.viewers_headers if viewer else {}
    for operation in live.operations(headers):

        @settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
        @given(operation.as_strategy(GenerationMode.POSITIVE, headers={}))
        def ask(case: Case) -> None:
            answer = case.call(session=live.session)
            assert answer.status_code in _statuses(case.operation, viewer)
            case.validate_response(answer, excluded_checks=[ignored_auth, positive_data_acceptance])

        with subtests.test(operation=operation.label):
            ask()


def _statuses(operation: APIOperation, viewer: bool) -> tuple[int, ...]:
    """What somebody who may not change anything can get."""
    if operation.path.startswith(("/health", "/metrics")):
        return 200, 503
    if not viewer:
        return 401, 429  # schemathesis makes up keys, and soon too many
    return (200, 404, 409, 422) if operation.method.upper() == "GET" else (403,)


@pytest.mark.long
def test_many_requests(live: Live, tmp_path: Path) -> None:
    """Every edge there is, and many more, by the program itself."""
    headers = [each for name, value in live.headers.items() for each in ("--header", f"{name}: {value}")]
    (tmp_path / "schemathesis.toml").write_text(
        f"[checks.positive_data_acceptance]\nexpected-statuses = {json.dumps(EXPECTED)}\n"
    )
    command = [sys.executable, "-m", "schemathesis.cli"]
    command += ["--config-file", str(tmp_path / "schemathesis.toml")]
    command += ["run", f"{live.url}/api/v1/openapi.json", *headers, "--no-color"]
    command += ["--exclude-path", WITHOUT, "--exclude-checks", "ignored_auth", "--phases", "coverage,fuzzing"]
    command += ["--max-examples", "30", "--request-timeout", "60", "--continue-on-failure"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
