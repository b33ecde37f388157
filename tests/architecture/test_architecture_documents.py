"""What documents and deployment files say is so: commands, options, links, configurations, readiness."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from helios_trio.cli import commands, main
from helios_trio.testing.running import running_proxy

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "examples" / "deploy"
SAMPLES = sorted(DEPLOY.glob("*.toml"))
FOLDERS = ("docs", "examples", "bench")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(path for name in FOLDERS for path in (ROOT / name).rglob("*.md"))])

COMMAND = re.compile(r"(?:\bhelios|\bpython -m helios_trio) ([a-z][a-z-]*(?: [^\s`&|;#]+)*)")
CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.DOTALL | re.MULTILINE)
LINK = re.compile(r'(?:\]\(|\bsrc(?:set)?=")(?!https?://)([^)#\s"]+)')
TOML = re.compile(r"^```toml\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def complaints(line: str) -> list[str]:
    """What is wrong with the words after `helios`: no such command, or no such option."""
    name, *arguments = shlex.split(line)
    command = commands.commands.get(name)
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        word = arguments.pop(0)
        name, command = f"{name} {word}", command.commands.get(word)
    if command is None:
        return [f"no command {name}"]
    known = {text for each in command.params if isinstance(each, click.Option) for text in each.opts}
    given = [argument.partition("=")[0] for argument in arguments if argument.startswith("-")]
    return [f"{name} has no option {option}" for option in given if option not in known | {"--help"}]


def commands_in(text: str) -> Iterator[str]:
    """The commands of ours in the code of a Markdown text."""
    for code in CODE.findall(text):
        yield from COMMAND.findall(code)


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_documents_name_commands_that_exist(path: Path) -> None:
    """Every `helios ...` in a document is a command with the options it has."""
    found = list(commands_in(path.read_text(encoding="utf-8")))
    assert [error for line in found for error in complaints(line)] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_links_lead_somewhere(path: Path) -> None:
    """Every link to a file of this project has one at its end."""
    links = LINK.findall(path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_commands_are_found_and_judged() -> None:
    """The search sees commands in code, and what is wrong with them."""
    text = "Run `helios serve --no-such` or helios nothing.\n```\npython -m helios_trio bake\n```\n"
    text += "`helios migrate start --to x --fast` and `helios migrate off`"
    found = [error for line in commands_in(text) for error in complaints(line)]
    assert found == [
        "serve has no option --no-such",
        "no command bake",
        "migrate start has no option --fast",
        "no command migrate off",
    ]


@pytest.mark.parametrize("path", SAMPLES, ids=relative)
def test_samples_are_good_configurations(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`helios check-config` accepts the samples."""
    shutil.copy(path, tmp_path)
    (tmp_path / "userlist.txt").write_text('"app" "secret"\n')
    monkeypatch.setenv("POSTGRES_PASSWORD", "secret")
    code = main(["check-config", str(tmp_path / path.name)])
    assert (code, capsys.readouterr().err) == (0, "")


def test_readme_has_a_good_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And the one in the README, with all that the page adds to it."""
    text = "".join(TOML.findall((ROOT / "README.md").read_text(encoding="utf-8")))
    (tmp_path / "helios.toml").write_text(text)
    (tmp_path / "userlist.txt").write_text('"app" "secret"\n')
    code = main(["check-config", str(tmp_path / "helios.toml")])
    assert (code, capsys.readouterr().err) == (0, "")


def test_unit_runs_commands_that_exist() -> None:
    """The programs and options of the systemd unit."""
    unit = (DEPLOY / "helios.service").read_text()
    found = re.findall(r"^Exec\w+=/opt/helios/bin/helios (.+)$", unit, re.MULTILINE)
    assert len(found) == 2
    assert [error for line in found for error in complaints(line)] == []


def test_unit_waits_longer_than_the_drain() -> None:
    """systemd and compose do not kill a proxy that lets transactions end."""
    drain = tomllib.loads((DEPLOY / "helios.toml").read_text())["proxy"]["drain_timeout"]
    unit = re.search(r"^TimeoutStopSec=(\d+)$", (DEPLOY / "helios.service").read_text(), re.MULTILINE)
    compose = re.search(r"stop_grace_period: (\d+)s", (DEPLOY / "compose.yaml").read_text())
    assert unit is not None
    assert compose is not None
    assert min(int(unit[1]), int(compose[1])) > int(drain.removesuffix("s"))


def test_image_is_made_of_files_that_exist() -> None:
    """What the Dockerfile copies is there, and what it runs is a command."""
    text = (DEPLOY / "Dockerfile").read_text()
    copied = [
        word for line in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE) for word in line.split()
    ]
    assert copied
    assert [name for name in copied if not (ROOT / name).exists()] == []
    (arguments,) = re.findall(r"^CMD \[(.+)\]$", text, re.MULTILINE)
    assert complaints(arguments.replace(",", " ")) == []


def test_compose_mounts_and_publishes_what_is_configured() -> None:
    """The configuration is mounted where the image looks for it, and the ports are those it listens on."""
    text = (DEPLOY / "compose.yaml").read_text()
    assert "./container.toml:/etc/helios/helios.toml:ro" in text
    assert "dockerfile: examples/deploy/Dockerfile" in text
    proxy = tomllib.loads((DEPLOY / "container.toml").read_text())["proxy"]
    port = proxy["listen_address"].rpartition(":")[2]
    assert f'127.0.0.1:{port}:{port}"' in text
    assert port in re.findall(r"\d+", (DEPLOY / "Dockerfile").read_text())


def test_systemd_is_told_how_the_proxy_is(tmp_path: Path, direct_address: tuple[str, int]) -> None:
    """sd_notify(3): ready once clients can connect, alive as often as asked, stopping when it drains."""
    host, port = direct_address
    config = (
        f'[auth]\nmethod = "trust"\n[[backends.pools]]\nname = "primary"\nhost = "{host}"\nport = {port}\n'
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
        with running_proxy(config, environment=environment) as proxy:
            wait_to_hear(manager, b"READY=1")
            socket.create_connection((proxy.host, proxy.port)).close()
            wait_to_hear(manager, b"WATCHDOG=1")
        wait_to_hear(manager, b"STOPPING=1")


def wait_to_hear(manager: socket.socket, message: bytes) -> None:
    """Read notifications up to the one with this line."""
    while message not in manager.recv(4096).split(b"\n"):
        pass
