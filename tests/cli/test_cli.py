"""The commands, in process and, where the exit of a process is the point, as one."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest

from helios_trio import __version__
from helios_trio.cli import main
from helios_trio.config import Config, TcpAddress, defaults_toml, loads
from helios_trio.errors import HeliosError


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No ./helios.toml but that of the test."""
    monkeypatch.chdir(tmp_path)


@attrs.define
class Served:
    """What `serve` was called with, and what it does."""

    config: Config | None = None
    options: dict[str, Any] = attrs.field(factory=dict)
    raises: BaseException | None = None

    def __call__(self, config: Config, **options: Any) -> int:
        self.config, self.options = config, options
        if self.raises is not None:
            raise self.raises
        return 0


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    """A proxy that only notes how it was started."""
    found = Served()
    app = ModuleType("helios_trio.app")
    app.serve_command = found  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "helios_trio.app", app)
    return found


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """The package's own."""
    assert main(["version"]) == 0
    assert capsys.readouterr().out == f"helios {__version__}\n"


def test_version_loads_nothing_heavy() -> None:
    """Start-up is lazy: neither Trio nor the parser nor the configuration is imported."""
    code = (
        "import sys; from helios_trio.cli import main; main(['version']);"
        "print([name for name in ('trio', 'pglast', 'cattrs', 'psycopg', 'quart') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[1] == "[]"


def test_the_module_runs_the_commands() -> None:
    """`python -m helios_trio` is `helios`, exit code included."""
    done = subprocess.run(
        [sys.executable, "-m", "helios_trio", "check-config", "none.toml"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "none.toml: expected a readable file (No such file or directory)\n"


def test_a_good_configuration_is_ok(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """That of all defaults, for one."""
    (tmp_path / "good.toml").write_text(defaults_toml())
    assert main(["check-config", "good.toml"]) == 0
    assert capsys.readouterr().out == "OK\n"


def test_a_bad_configuration_tells_all_and_exits_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line each on stderr: file, path, value, what was expected."""
    (tmp_path / "bad.toml").write_text("[pool]\nmode = 'x'\nmax_connections = 0\n")
    assert main(["check-config", "bad.toml"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        'bad.toml: pool.mode: "x": expected one of session, transaction, statement',
        "bad.toml: pool.max_connections: 0: expected a whole number, at least 1",
    ]


def test_the_defaults_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing else on the standard output, so that it can be a file."""
    assert main(["config", "--defaults"]) == 0
    assert capsys.readouterr().out == defaults_toml()


def test_the_configuration_in_force_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """./helios.toml, with the environment over it, secrets masked."""
    (tmp_path / "helios.toml").write_text('[control]\npassword = "hunter2"\n[pool]\nmax_connections = 7\n')
    monkeypatch.setenv("HELIOS__POOL__MODE", "transaction")
    assert main(["config"]) == 0
    printed = capsys.readouterr().out
    assert "hunter2" not in printed
    pool = loads(printed, {}, source="printed", folder=tmp_path).pool
    assert (pool.max_connections, pool.mode) == (7, "transaction")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [(["serve", "--lissten", "x"], "--listen"), (["check-confg"], "check-config"), (["serve", "x"], "x")],
)
def test_wrong_usage_exits_2(arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With the nearest name, where something is near."""
    assert main(arguments) == 2
    assert hint in capsys.readouterr().err


def test_serve_without_arguments_uses_the_defaults(served: Served) -> None:
    """No file, no options."""
    assert main(["serve"]) == 0
    assert served.config == Config()
    assert served.options == {"ready_file": None, "ephemeral": False, "config_path": None, "over": {}}


def test_serve_finds_the_file_here(tmp_path: Path, served: Served) -> None:
    """And says which it is, for a reload."""
    (tmp_path / "helios.toml").write_text("[pool]\nmax_connections = 7\n")
    assert main(["serve"]) == 0
    assert served.config is not None
    assert served.config.pool.max_connections == 7
    assert served.options["config_path"] == Path("helios.toml")


def test_options_go_over_the_file(tmp_path: Path, served: Served) -> None:
    """All of them."""
    (tmp_path / "other.toml").write_text('[proxy]\nlisten_address = "127.0.0.1:1"\n')
    arguments = ["--config", "other.toml", "--listen", "127.0.0.1:0", "--admin-listen", "off"]
    arguments += ["--data-dir", "data", "--standbys", "3", "--ready-file", "ready.json"]
    assert main(["serve", *arguments]) == 0
    config = served.config
    assert config is not None
    assert config.proxy.listen_address == (TcpAddress("127.0.0.1", 0),)
    assert config.proxy.admin_listen_address is None
    assert (config.embedded.data_dir, config.embedded.standbys) == (tmp_path / "data", 3)
    assert served.options["ready_file"] == Path("ready.json")


def test_rules_may_name_standbys_of_the_command_line(tmp_path: Path, served: Served) -> None:
    """Also when the configuration is read again."""
    rule = '[routing]\nread_write_split = true\n[[routing.rules]]\ntenant_pattern = "x*"\nbackend = "node3"\n'
    (tmp_path / "helios.toml").write_text(rule)
    assert main(["serve"]) == 2
    assert main(["serve", "--standbys", "2"]) == 0
    assert served.options["over"] == {"HELIOS__EMBEDDED__STANDBYS": "2"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--listen", "nowhere"], "--listen"),
        (["--admin-listen", "unix:/a"], "--admin-listen"),
        (["--standbys", "10"], "--standbys"),
        (["--listen", "0.0.0.0:0"], "auth_file or auth_query"),
        (["--listen", "127.0.0.1:9090"], "another address"),
        (["--ephemeral", "--data-dir", "x"], "--data-dir"),
        (["--config", "none.toml"], "none.toml"),
    ],
)
def test_options_that_cannot_be_used_exit_2(
    arguments: list[str], words: str, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    """Values, and what they make of the whole; the proxy is not started."""
    assert main(["serve", *arguments]) == 2
    assert words in capsys.readouterr().err
    assert served.config is None


@pytest.mark.parametrize(
    ("raises", "code"),
    [(HeliosError("the port is taken", hint="use another"), 1), (KeyboardInterrupt(), 130)],
)
def test_failures_and_interrupts_have_exit_codes(
    raises: BaseException, code: int, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line on stderr and no traceback."""
    served.raises = raises
    assert main(["serve"]) == code
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert ("the port is taken\nuse another" in err) is (code == 1)


def test_other_exceptions_are_bugs_and_not_hidden(served: Served) -> None:
    """They keep their traceback."""
    served.raises = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        main(["serve"])


def test_an_interrupted_process_exits_130_without_a_traceback(tmp_path: Path) -> None:
    """Ctrl-C while a command runs."""
    code = (
        "import sys, types, signal; app = types.ModuleType('helios_trio.app');"
        "app.serve_command = lambda *a, **k: signal.raise_signal(signal.SIGINT);"
        # a shell has what it runs in the background ignore it
        "signal.signal(signal.SIGINT, signal.default_int_handler);"
        "sys.modules['helios_trio.app'] = app; from helios_trio.cli import main; sys.exit(main(['serve']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path
    )
    assert (done.returncode, done.stderr.strip()) == (130, "")


def test_output_that_nobody_reads_is_no_crash() -> None:
    """`helios config --defaults | head -1`."""
    command = f"{sys.executable} -m helios_trio config --defaults | head -c 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("#", "")


INI = """\
[databases]
a = host=h user=u password=hunter2
%include more.ini
[pgbouncer]
auth_type = trust
foo = 1
"""


def test_pgbouncers_file_is_imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """To the standard output; warnings beside it; included files are found next to it."""
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "pgbouncer.ini").write_text(INI)
    (folder / "more.ini").write_text("b = host=h\n")
    assert main(["import-pgbouncer", "etc/pgbouncer.ini"]) == 0
    captured = capsys.readouterr()
    config = loads(captured.out, {}, source="out", folder=tmp_path)
    assert [each.name for each in config.databases] == ["a", "b"]
    assert captured.err == "warning: [pgbouncer] foo: not carried over; nothing here corresponds to it\n"


def test_an_imported_file_is_private_and_overwrites_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may hold passwords."""
    (tmp_path / "pgbouncer.ini").write_text(INI.replace("%include more.ini\n", ""))
    out = tmp_path / "helios.toml"
    assert main(["import-pgbouncer", "pgbouncer.ini", "-o", "helios.toml"]) == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    before = out.read_text()
    assert "hunter2" in before
    assert main(["import-pgbouncer", "pgbouncer.ini", "-o", "helios.toml"]) == 2
    assert out.read_text() == before
    assert "File exists" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, b"\xff", b"no section"])
def test_a_file_that_is_none_of_pgbouncers_exits_2(content: bytes | None, tmp_path: Path) -> None:
    """Missing, no text, not its syntax."""
    if content is not None:
        (tmp_path / "x.ini").write_bytes(content)
    assert main(["import-pgbouncer", "x.ini"]) == 2


def test_the_sql_of_the_set_up_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the names of the configuration, without its password."""
    (tmp_path / "helios.toml").write_text('[control]\nuser = "watcher"\npassword = "hunter2"\n')
    assert main(["setup", "--print"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("BEGIN;")
    assert "watcher" in printed
    assert "hunter2" not in printed


@pytest.mark.parametrize("arguments", [[], ["--print", "--dsn", "dbname=x"]])
def test_set_up_needs_to_know_where(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Either on paper or in a database."""
    assert main(["setup", *arguments]) == 2
    assert "--dsn" in capsys.readouterr().err


def test_names_that_cannot_be_set_up_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As an error of the configuration."""
    (tmp_path / "helios.toml").write_text('[control]\nuser = "a$b"\n')
    assert main(["setup", "--print"]) == 2
    assert "control.user" in capsys.readouterr().err


def test_a_database_that_is_not_there_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the server's or libpq's own words, and exit code 1."""
    assert main(["setup", "--dsn", f"host={tmp_path} dbname=x"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("set-up failed: ")
    assert "Traceback" not in err
