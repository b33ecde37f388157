"""Gets a suite and its driver by pip: the source package with the tests, and an environment with the wheel.

Both are kept in a cache folder under the version's name and made only once. Called by `run`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path
from typing import Final

from catalogue import Suite

from helios_trio.embedded.binaries import wheel_bin_dir

_TOOLS: Final = ("pytest>=9,<10", "pytest-timeout>=2.3")


class NoTests(Exception):
    """The package holds no tests."""


class PipFailed(Exception):
    """pip could not get what is needed; the message is what it wrote."""


def default_cache() -> Path:
    """Where packages are kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "helios-trio" / "suites"


def copy_tests(suite: Suite, source: Path, target: Path) -> None:
    """Copy the tests alone: beside its source tree a driver would be imported from there, uncompiled.

    Raises `NoTests`.
    """
    if not (source / suite.folder).is_dir():
        raise NoTests(f"the package {suite.title} has no folder {suite.folder}")
    shutil.copytree(source / suite.folder, target / suite.folder)
    (target / "pytest.ini").write_text("[pytest]\n")


def unpacked_source(suite: Suite, cache: Path) -> Path:
    """The source package, downloaded and unpacked. Raises `PipFailed`."""
    folder = cache / f"{suite.title}-source"
    if not folder.is_dir():
        archives = cache / f"{suite.title}-archive"
        _pip(
            sys.executable,
            *("download", "--no-deps", "--no-binary", suite.name, "--dest", str(archives)),
            f"{suite.name}=={suite.version}",
        )
        (archive,) = archives.glob("*.tar.gz")
        _unpack(archive, folder)
    (root,) = folder.iterdir()
    return root


def environment_python(suite: Suite, cache: Path) -> Path:
    """The interpreter of an environment with the driver and what its tests import. Raises `PipFailed`."""
    folder = cache / f"{suite.title}-environment"
    complete = folder / "complete"
    python = folder / "bin" / "python"
    if not complete.exists():
        venv.create(folder, clear=True, with_pip=True)
        _pip(str(python), "install", f"{suite.package}=={suite.version}", *_TOOLS, *suite.requirements)
        complete.touch()
    return python


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack, whole or not at all."""
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    with tarfile.open(archive) as opened:
        opened.extractall(partial, filter="data")
    partial.rename(folder)


def _pip(python: str, *arguments: str) -> None:
    """Run pip, with a pg_config at hand: psycopg2's source package does not tell its name without one."""
    path = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}{wheel_bin_dir()}"
    done = subprocess.run(
        [python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise PipFailed(f"pip {' '.join(arguments)}:\n{done.stderr.strip()}")
