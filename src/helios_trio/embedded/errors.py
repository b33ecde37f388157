"""What can go wrong with an embedded cluster, for those who open one."""

from __future__ import annotations

from helios_trio.errors import HeliosError


class EmbeddedError(HeliosError):
    """The embedded cluster cannot do what was asked."""

    sqlstate = "58000"
    code = "embedded_error"


class FolderInUse(EmbeddedError):
    """Another process has this data folder open."""

    sqlstate = "55006"
    code = "embedded_folder_in_use"


class ProgramFailed(EmbeddedError):
    """One of PostgreSQL's programs ended with an error; `detail` is what it wrote."""

    code = "embedded_program_failed"


class ServerDidNotStart(EmbeddedError):
    """A server ended, or did not accept connections in time; `detail` is the end of its log."""

    code = "embedded_server_did_not_start"
