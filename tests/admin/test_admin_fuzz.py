"""schemathesis against the OpenAPI document of a live proxy: whatever is asked, the answer is one that is documented.

Statements run as a superuser, sessions are ended, sides drained and circuits opened; only the live stream, which never
ends, is left to tests of its own. Answers to wrong keys are too, because the proxy soon answers 429 to them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case
from schemathesis.checks import load_all_checks
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import ignored_auth

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
ACCEPTED = ["2xx", "403", "404", "409", "422"]
#: Phases of schemathesis: for each key what is at the edge and beyond it, and anything at all.
COVERAGE, FUZZING = {"coverage": {"enabled": True}}, {"coverage": {"enabled": False}}


class Live:
    """A proxy, an operator's key, and the document."""

    def __init__(self, proxy: ProxyProcess, key: str) -> None:
        assert proxy.admin is not None
        self.proxy = proxy
        self.url = f"http://{proxy.admin[0]}:{proxy.admin[1]}"
        self.headers = {"X-API-Key": key}
        self.session = requests.Session()
        self.session.trust_env = False

    def schema(self, phases: dict[str, Any]) -> BaseSchema:
        """All but the stream."""
        config = schemathesis.Config.from_dict(
            {
                "headers": self.headers,
                "request-timeout": 60,
                "phases": {"examples": {"enabled": False}, "stateful": {"enabled": False}, **phases},
                "checks": {"positive_data_acceptance": {"expected-statuses": ACCEPTED}},
            }
        )
        url = f"{self.url}/api/v1/openapi.json"
        found = schemathesis.openapi.from_url(url, config=config, headers=self.headers)
        return found.exclude(path="/api/v1/stream")


@pytest.fixture(scope="module")
def live(direct_address: tuple[str, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """With everything switched on that has routes, and somebody connected."""
    load_all_checks()
    folder = tmp_path_factory.mktemp("fuzz")
    key, kept = make_key("fuzz", Role.OPERATOR, "postgres")
    (folder / "keys").write_text(kept.line + "\n")
    host, port = direct_address
    with (
        running_proxy(CONFIG.format(folder=folder, host=host, port=port)) as proxy,
        psycopg.connect(proxy.dsn(), autocommit=True) as client,
    ):
        client.execute("SELECT 1")
        yield Live(proxy, key)
        assert proxy.running


@pytest.fixture(scope="module")
def at_the_edge(live: Live) -> BaseSchema:
    return live.schema(COVERAGE)


@pytest.fixture(scope="module")
def at_random(live: Live) -> BaseSchema:
    return live.schema(FUZZING)


def check(live: Live, case: Case) -> None:
    """No 5xx, and what was answered is documented: status, type, schema; what is wrong is refused."""
    case.call_and_validate(session=live.session, excluded_checks=[ignored_auth])


@schemathesis.pytest.from_fixture("at_random").parametrize()
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_some_requests(live: Live, case: Case) -> None:
    """A few of each kind, good and bad."""
    check(live, case)


@pytest.mark.long
@schemathesis.pytest.from_fixture("at_the_edge").parametrize()
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
def test_many_requests(live: Live, case: Case) -> None:
    """Every edge, then many."""
    check(live, case)
