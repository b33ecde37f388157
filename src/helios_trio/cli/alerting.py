"""`helios alerts test`: has every configured receiver told something, and says what each has answered.

Used by: cli.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from helios_trio.cli.options import config_option, load_config
from helios_trio.errors import ConfigError

if TYPE_CHECKING:
    from helios_trio.config import Config
    from helios_trio.features.alerts.alert import Alert
    from helios_trio.net.post import Answer, Document

#: The receiver of `failover.actions.alert_webhook`, which has a document of its own.
_FAILOVER: Final = "failover"
_RECEIVERS: Final = ("webhook", "slack", "pagerduty", _FAILOVER)
_KIND: Final = "test alert"
_REASON: Final = "somebody wants to know whether alerts arrive; nothing has happened"


@click.group()
def alerts() -> None:
    """Who is told when something happens."""


@alerts.command()
@config_option
@click.option(
    "--receiver",
    "receivers",
    type=click.Choice(_RECEIVERS),
    multiple=True,
    metavar="NAME",
    help=f"Only this one: {', '.join(_RECEIVERS)}. Can be given again.",
)
def test(config_path: Path | None, receivers: Sequence[str]) -> int:
    """Send a test alert to each configured receiver, and print what it answers. One attempt; 1 if one fails."""
    import trio

    _, config = load_config(config_path)
    documents = _documents(config)
    if missing := [name for name in receivers if name not in documents]:
        raise ConfigError(f"{missing[0]}: expected a receiver that is configured ({_known(documents)})")
    if not documents:
        raise ConfigError("alerts: expected at least one receiver, such as alerts.webhook_url")
    chosen = {name: each for name, each in documents.items() if not receivers or name in receivers}
    failed = trio.run(_send, chosen, config)
    return 1 if failed else 0


def _known(documents: Mapping[str, object]) -> str:
    return ", ".join(documents) or "there is none"


def _documents(config: Config) -> Mapping[str, Sequence[Document]]:
    """What each receiver gets: an alert, and its end where one would stay open otherwise."""
    import json

    from helios_trio.features.alerts.targets import PAGERDUTY, targets_of
    from helios_trio.net.post import Document

    now = time.time()
    trial, over = _trial(config, now)
    found: dict[str, Sequence[Document]] = {}
    for name, target in targets_of(config.alerts).items():
        told = (trial, over) if name == PAGERDUTY else (trial,)
        found[name] = [target.document(each, now) for each in told]
    if (url := config.failover.actions.alert_webhook) is not None:
        body = json.dumps({"kind": _KIND, "reason": _REASON}).encode()
        found[_FAILOVER] = [Document(url=url, body=body, headers={"Content-Type": "application/json"})]
    return found


def _trial(config: Config, now: float) -> tuple[Alert, Alert]:
    from attrs import evolve

    from helios_trio.composition.alerting import naming_of
    from helios_trio.config.alerts import Severity
    from helios_trio.features.alerts.alert import Alert, Status

    naming = naming_of(config.alerts)
    trial = Alert(
        id=naming.new_id(),
        key=f"{naming.source}/test",
        status=Status.OPEN,
        severity=Severity.INFO,
        kind=_KIND,
        subject="",
        reason=_REASON,
        who="helios alerts test",
        at=now,
        source=naming.source,
    )
    return trial, evolve(trial, id=naming.new_id(), status=Status.RESOLVED, kind=f"{_KIND} is over")


async def _send(documents: Mapping[str, Sequence[Document]], config: Config) -> bool:
    """All at once; whether one has failed."""
    import trio

    from helios_trio.net.post import open_poster

    answers: dict[str, Sequence[Answer]] = {}

    async def send(name: str) -> None:
        answers[name] = [
            await poster.post(each, time_limit=config.alerts.timeout) for each in documents[name]
        ]

    async with open_poster(config.alerts.ca_file) as poster, trio.open_nursery() as nursery:
        for name in documents:
            nursery.start_soon(send, name)
    for name in documents:
        for answer in answers[name]:
            click.echo(f"{name}: {'ok' if answer.accepted else 'failed'}: {answer}")
    return not all(answer.accepted for each in answers.values() for answer in each)
