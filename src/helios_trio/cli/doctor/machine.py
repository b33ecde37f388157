"""What is looked at on this machine: files, certificates, limits, the folder of state. It blocks, and runs in a thread.

Used by: cli.doctor.examination.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from helios_trio.admin.keys import read_keys
from helios_trio.cli.doctor.about_capacity import MachineFacts
from helios_trio.cli.doctor.about_files import (
    Kind,
    NamedFile,
    about_certificates,
    about_mode,
    files_of,
    secrets_in,
)
from helios_trio.cli.doctor.findings import Finding, ok, warning, wrong
from helios_trio.cli.doctor.listening import RunningProxy
from helios_trio.composition.moving import state_folder
from helios_trio.composition.watching import patroni_access
from helios_trio.config import BackendSettings, Config, TopologyProvider
from helios_trio.config.words import AuthMethod
from helios_trio.errors import ConfigError
from helios_trio.net.tls import ClientTLS, ServerTLS
from helios_trio.proxy.userlist import AuthFile

_SOMAXCONN: Final = Path("/proc/sys/net/core/somaxconn")


def machine_facts(proxy: RunningProxy | None) -> MachineFacts:
    """Limits of the proxy that runs, if it tells them, else of this process."""
    own, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    told = None if proxy is None else proxy.descriptors
    try:
        backlog = int(_SOMAXCONN.read_text())
    except (OSError, ValueError):
        backlog = None
    return MachineFacts(
        descriptors=own if told is None else told, of_proxy=told is not None, somaxconn=backlog
    )


def look_at_files(config: Config, config_path: Path | None) -> Iterator[Finding]:
    """Who may read and write them, and how long certificates last."""
    if config_path is not None:
        yield from _config_file(config, config_path)
    for file in files_of(config):
        try:
            yield about_mode(file, file.path.stat().st_mode)
            if file.kind is Kind.CERTIFICATE:
                yield about_certificates(file, file.path.read_bytes(), datetime.now(UTC))
        except OSError as error:
            yield wrong(
                "files", file.about, f"cannot be read: {error.strerror}", "correct the path, or its mode"
            )


def _config_file(config: Config, path: Path) -> Iterator[Finding]:
    """The configuration itself is a secret where secrets stand in it."""
    secrets = secrets_in(config, path.read_text("utf-8"))
    kind = Kind.SECRET if secrets else Kind.HASHES
    yield about_mode(NamedFile("configuration", path, kind), path.stat().st_mode)
    for key in secrets:
        what = "the secret stands in the configuration"
        yield warning("files", key, what, "put it into a file of its own (password_file), or use ${NAME}")


# -- what only starting would find out -----------------------------------------------------------------------------


def look_at_contents(config: Config) -> Iterator[Finding]:
    """Whether files contain what they should: the proxy reads them when it starts."""
    for key, read in _readers(config):
        try:
            read()
        except ConfigError as error:
            yield wrong("contents", key, error.message, error.hint or "correct the file")
        else:
            yield ok("contents", key, "can be used")
    yield from _open_door(config)


def _readers(config: Config) -> Iterator[tuple[str, Callable[[], object]]]:
    """Keys of the configuration, and what the proxy would do with what they name."""
    tls, auth, keys = config.proxy.tls, config.auth.auth_file, config.admin.api_keys_file
    if tls.cert_file is not None:
        yield (
            "proxy.tls",
            lambda: ClientTLS(
                tls.mode, cert_file=tls.cert_file, key_file=tls.key_file, client_ca_file=tls.client_ca_file
            ),
        )
    if auth is not None:
        yield "auth.auth_file", lambda: AuthFile(auth)
    if keys is not None:
        yield "admin.api_keys_file", lambda: read_keys(keys)
    if config.topology.provider is TopologyProvider.PATRONI:
        yield "topology.patroni", lambda: patroni_access(config)
    for each in config.backends.pools:
        if each.tls_ca_file is not None or each.tls_cert_file is not None:
            yield f"backends.pools ({each.name}).tls", partial(_server_tls, each)


def _server_tls(backend: BackendSettings) -> ServerTLS:
    """TLS towards a server, as the proxy would have it. Raises ConfigError."""
    return ServerTLS(
        backend.tls,
        ca_file=backend.tls_ca_file,
        cert_file=backend.tls_cert_file,
        key_file=backend.tls_key_file,
    )


def _open_door(config: Config) -> Iterator[Finding]:
    """Clients of other machines that are asked for nothing."""
    reachable = [str(each) for each in config.proxy.listen_address if not each.is_loopback]
    if reachable and config.effective_auth.method is AuthMethod.TRUST:
        what = f"anybody who reaches {', '.join(reachable)} is let in as anybody (trust)"
        yield warning("auth", "auth.method", what, 'set auth.method = "scram-sha-256"')


def look_at_state(config: Config) -> Iterator[Finding]:
    """Where records are kept over a restart."""
    folder = state_folder(config, os.environ)
    if folder is None:
        what = "none: records of migrations end with the process"
        yield ok("state", "proxy.state_dir", what)
        return
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        remedy = "run the proxy as its owner, or set proxy.state_dir (StateDirectory= in the unit)"
        yield wrong("state", str(folder), f"{existing} cannot be written by this user", remedy)
    else:
        yield ok("state", str(folder), "can be written")
