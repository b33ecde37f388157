"""Runs PostgreSQL's programs: tools to their end, servers in the background.

No shell, no inherited PG* variables, the account of `account`, and "/" as working directory (older
releases insist on being able to return to it). Called by `binaries`, `server` and `replication`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import trio
from attrs import frozen

from helios_trio.embedded.account import Account
from helios_trio.embedded.errors import EmbeddedError, ProgramFailed


@frozen
class Programs:
    """How to start programs for one cluster: as whom, with which inherited descriptors."""

    account: Account | None
    pass_fds: tuple[int, ...] = ()

    async def run(self, argv: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
        """Run a program to its end and return what it printed.

        Raises:
            ProgramFailed: it ended with an error.
        """
        try:
            done = await trio.run_process(
                argv,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                **self._options(environment or {}),
            )
        except OSError as error:
            raise EmbeddedError(f"cannot run {argv[0]}: {error.strerror}") from error
        if done.returncode:
            report = (done.stderr or done.stdout).decode(errors="replace").strip()
            name = os.path.basename(argv[0])
            raise ProgramFailed(f"{name} ended with status {done.returncode}", detail=report)
        return done.stdout.decode(errors="replace")

    async def spawn(self, argv: Sequence[str], log: Path) -> trio.Process:
        """Start a server in a session of its own, so that a terminal's Ctrl-C reaches only us."""
        with log.open("ab") as output:
            return await trio.lowlevel.open_process(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                **self._options({}),
            )

    def _options(self, environment: Mapping[str, str]) -> dict[str, Any]:
        inherited = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
        options: dict[str, Any] = {
            "cwd": "/",
            "env": {**inherited, "LC_ALL": "C", **environment},
            "pass_fds": self.pass_fds,
        }
        if self.account is not None:
            options.update(user=self.account.uid, group=self.account.gid, extra_groups=[])
        return options
