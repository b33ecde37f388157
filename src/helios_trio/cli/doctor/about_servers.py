"""What is to be said of each server by itself: reachable, release, clock, rights of the control user, set-up. Pure.

Used by: cli.doctor.examination.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from helios_trio.cli.doctor.facts import ServerFacts
from helios_trio.cli.doctor.findings import Finding, Verdict, ok, warning, wrong
from helios_trio.config import Config
from helios_trio.config.words import CommitOutcomeMethod

#: Releases that are tested.
OLDEST, NEWEST = 12, 18
#: Seconds of difference that matter to people who compare logs, and to certificates and passwords that expire.
_CLOCK_NOTICED: Final = 1.0
_CLOCK_WRONG: Final = 60.0

SETUP: Final = "run `helios setup --dsn ...` as a superuser, in each database"

#: Right -> what it is needed for. Names are those that `asking` uses.
PROMOTE, ALTER_SYSTEM, RELOAD = "EXECUTE on pg_promote()", "ALTER SYSTEM", "EXECUTE on pg_reload_conf()"
MONITOR, READ_ALL_STATS = "pg_monitor", "pg_read_all_stats"
SIGNAL, CHECKPOINT = "pg_signal_backend", "pg_checkpoint"
_NEEDED_FOR: Final = {
    MONITOR: "lag and sync_state of standbys are not known",
    READ_ALL_STATS: "a switchover is refused, as open transactions of others cannot be seen",
    SIGNAL: "the outcome of a COMMIT whose connection was lost stays unknown (08007)",
    PROMOTE: "no standby can be promoted",
    ALTER_SYSTEM: "a switchover is refused, as the old primary cannot be made read-only",
    RELOAD: "a switchover is refused, as the old primary cannot be made read-only",
    CHECKPOINT: "a switchover takes longer, as there is no checkpoint before it",
}

#: Part of what a failed attempt to connect says -> what to do. The first that fits.
_REMEDIES: Final = (
    ("refused", "start the server, or correct host and port; listen_addresses must have the address"),
    ("No such file", "start the server, or correct the folder of its socket (unix_socket_directories)"),
    ("no answer within", "look for a firewall or a wrong address between here and there"),
    ("resolve", "correct the host's name, or the name service"),
    ("has no address", "correct the host's name, or the name service"),
    (
        "password",
        "correct control.password or control.password_file; `helios setup --dsn` sets it on the server",
    ),
    ("pg_hba.conf", "add a line to pg_hba.conf for the control user and this machine, and reload the server"),
    ("role", "run `helios setup --dsn ...` as a superuser, which creates the control user"),
    ("database", "correct control.database"),
    ("certificate", "correct tls_ca_file, or the server's certificate"),
    ("SSL", "turn on ssl on the server, or change tls of this backend"),
    ("slots", "raise max_connections on the server, or lower the limits of the pools"),
    ("too many", "raise max_connections on the server, or lower the limits of the pools"),
    ("recovery", "turn on hot_standby on this standby, or wait until it is consistent"),
    ("starting up", "wait until the server has started"),
)


def about_unreachable(name: str, reason: str) -> Finding:
    """A server that the control user cannot connect to."""
    remedy = next((remedy for part, remedy in _REMEDIES if part in reason), "read the server's log")
    return wrong("reachable", name, f"the control user cannot connect: {reason}", remedy)


def about_server(config: Config, facts: ServerFacts) -> Iterator[Finding]:
    """All there is to say of a server by itself."""
    state = "standby" if facts.in_recovery else "primary"
    yield ok("reachable", facts.name, f"answers, and is a {state}")
    yield about_version(facts)
    yield about_clock(facts)
    yield from about_rights(config, facts)
    yield from about_setup(config, facts)
    for question, reason in facts.unknown.items():
        yield warning("questions", facts.name, f"would not say its {question}: {reason}", SETUP)


def about_version(facts: ServerFacts) -> Finding:
    """Its release."""
    what = f"PostgreSQL {facts.major}.{facts.version % 10000}"
    if facts.major < OLDEST:
        return wrong("version", facts.name, f"{what} is too old", f"upgrade it to {OLDEST} or newer")
    if facts.major > NEWEST:
        return warning(
            "version", facts.name, f"{what} has not been tested", f"test it, or use up to {NEWEST}"
        )
    return ok("version", facts.name, what)


def about_clock(facts: ServerFacts) -> Finding:
    """Its clock, as far as the way there lets it be compared."""
    apart = max(0.0, abs(facts.clock_ahead) - facts.clock_unsure)
    side = "ahead of" if facts.clock_ahead > 0 else "behind"
    if apart < _CLOCK_NOTICED:
        sure = f"{facts.clock_unsure * 1000:.0f} ms"
        return ok(
            "clock", facts.name, f"its clock agrees with this machine's, as far as can be told (+-{sure})"
        )
    what, remedy = f"its clock is {apart:.1f} s {side} this machine's", "run an NTP service on both machines"
    return (wrong if apart >= _CLOCK_WRONG else warning)("clock", facts.name, what, remedy)


# -- rights --------------------------------------------------------------------------------------------------------


def about_rights(config: Config, facts: ServerFacts) -> Iterator[Finding]:
    """What the control user may do."""
    user = config.control.user
    if facts.superuser:
        what = f"{user} is a superuser, and may do everything"
        yield warning("rights", facts.name, what, "use a role of least privilege: `helios setup` creates one")
        return
    lacking = [right for right, given in facts.rights.items() if not given]
    for right in lacking:
        verdict = Verdict.WRONG if right in _vital(config) else Verdict.WARNING
        what = f"{user} lacks {right}: {_NEEDED_FOR[right]}"
        yield Finding(verdict, "rights", facts.name, what, SETUP)
    if facts.rights and not lacking:
        yield ok("rights", facts.name, f"{user} has all rights that it needs")


def _vital(config: Config) -> set[str]:
    """Rights without which something that is configured fails."""
    vital = set()
    if config.failover.enabled and config.topology.promotes:
        vital.add(PROMOTE)
    if (
        config.transaction_replay.enabled
        and config.transaction_replay.commit_outcome != CommitOutcomeMethod.OFF
    ):
        vital.add(SIGNAL)
    return vital


# -- set-up --------------------------------------------------------------------------------------------------------


def about_setup(config: Config, facts: ServerFacts) -> Iterator[Finding]:
    """What `helios setup` creates, in each database that was looked into."""
    if not uses_setup(config):
        return
    for database in facts.databases:
        about = f"{facts.name}, database {database.name}"
        if database.problem:
            what = f"could not be looked into: {database.problem}"
            yield warning(
                "setup", about, what, "let the control user connect to it (GRANT CONNECT, pg_hba.conf)"
            )
        elif database.missing:
            what = f"`helios setup` is not complete: {', '.join(database.missing)}"
            yield warning("setup", about, f"{what}; a lost COMMIT stays unknown there (08007)", SETUP)
        else:
            yield ok("setup", about, "`helios setup` is complete")


def uses_setup(config: Config) -> bool:
    """Whether anything that is configured needs what `helios setup` creates in databases."""
    replay = config.transaction_replay
    return replay.enabled and replay.commit_outcome == CommitOutcomeMethod.TOKEN
