"""What is to be said of the servers together: who is primary, who follows whom, what a failover would find. Pure.

Used by: cli.doctor.examination.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Final

from helios_trio.cli.doctor.facts import ServerFacts, SlotSeen
from helios_trio.cli.doctor.findings import Finding, ok, warning, wrong
from helios_trio.config import Config
from helios_trio.config.words import Role

#: Bytes of WAL kept for a slot that nobody reads.
_MUCH_WAL: Final = 1 << 30
_ALTER: Final = "ALTER SYSTEM SET {} = {}; then restart the server"


def about_replication(config: Config, servers: Sequence[ServerFacts]) -> Iterator[Finding]:
    """Of all servers that answered."""
    yield from about_primaries(servers)
    yield from _about_roles(config, servers)
    for cluster in clusters(servers):
        yield from about_cluster(config, cluster)


def clusters(servers: Sequence[ServerFacts]) -> list[list[ServerFacts]]:
    """Servers of the same data together; what does not say whose data it has belongs to nobody."""

    def identity(facts: ServerFacts) -> str:
        return facts.system_identifier or f" {facts.name}"

    return [list(each) for _, each in groupby(sorted(servers, key=identity), key=identity)]


def distinct(servers: Sequence[ServerFacts]) -> list[ServerFacts]:
    """Each server once, under the first of its names."""
    found: dict[tuple[str | None, str], ServerFacts] = {}
    for each in servers:
        found.setdefault((each.system_identifier or each.name, each.started_at), each)
    return list(found.values())


def about_primaries(servers: Sequence[ServerFacts]) -> Iterator[Finding]:
    """Exactly one server of each cluster takes writes."""
    for cluster in clusters(servers):
        names = ", ".join(each.name for each in cluster)
        primaries = [each for each in distinct(cluster) if not each.in_recovery]
        if len(primaries) > 1:
            both = " and ".join(each.name for each in primaries)
            what = f"{both} have the same data, and each of them is a primary"
            yield wrong(
                "primary", names, what, "stop the one with less WAL, and make it a standby (pg_rewind)"
            )
        elif not primaries:
            what = "no server that answered takes writes: all are standbys"
            yield wrong("primary", names, what, "start the primary, or promote one of them (pg_promote)")
        else:
            yield from _about_read_only(primaries[0])


def _about_read_only(primary: ServerFacts) -> Iterator[Finding]:
    if primary.settings.get("default_transaction_read_only") == "on":
        remedy = "ALTER SYSTEM RESET default_transaction_read_only; SELECT pg_reload_conf()"
        yield wrong("primary", primary.name, "it is the primary, and its transactions are read-only", remedy)
    else:
        yield ok("primary", primary.name, "it is the primary, and takes writes")


def _about_roles(config: Config, servers: Sequence[ServerFacts]) -> Iterator[Finding]:
    """What the configuration calls a server against what it is."""
    roles = {each.name: each.role for each in config.backends.pools}
    for facts in servers:
        role = roles.get(facts.name, Role.AUTO)
        if role is Role.ACTIVE and facts.in_recovery:
            yield wrong(
                "role", facts.name, "it is configured as active, and is a standby", 'set role = "auto"'
            )
        elif role in (Role.STANDBY, Role.REPLICA) and not facts.in_recovery:
            what = f"it is configured as {role}, and is a primary"
            yield warning("role", facts.name, what, 'set role = "auto", unless it shall get no writes')


# -- one cluster -------------------------------------------------------------------------------------------------


def about_cluster(config: Config, cluster: Sequence[ServerFacts]) -> Iterator[Finding]:
    """A primary, and its standbys, if it has any."""
    members = distinct(cluster)
    standbys = [each for each in members if each.in_recovery]
    primary = next((each for each in members if not each.in_recovery), None)
    for standby in standbys:
        yield from about_standby(standby)
    if primary is None:
        return
    if not standbys and not primary.standbys:
        if config.failover.enabled and config.topology.promotes:
            what = "it has no standby: when it dies, nobody takes over"
            yield warning(
                "replication", primary.name, what, "add a standby as a backend, or turn failover off"
            )
        return
    yield from _about_settings(primary, len(standbys))
    yield from about_synchronous(config, primary)
    yield from _about_streaming(primary, standbys)
    yield from map(_about_slot(primary), primary.slots)
    yield from _about_releases(members)


def about_standby(standby: ServerFacts) -> Iterator[Finding]:
    """A standby by itself."""
    if standby.receiver is None and "replication" not in standby.unknown:
        what = "it receives nothing from a primary"
        yield wrong(
            "replication", standby.name, what, "read its log; correct primary_conninfo, or build it anew"
        )
    elif standby.receiver is not None:
        yield ok("replication", standby.name, f"it receives WAL ({standby.receiver})")
    if standby.replay_paused:
        what = "replay is paused"
        yield wrong("replication", standby.name, what, "SELECT pg_wal_replay_resume() on it, as a superuser")
    if (delay := standby.number("recovery_min_apply_delay") or 0) > 0:
        what = f"it replays {delay / 1000:g} s late (recovery_min_apply_delay)"
        yield warning(
            "replication", standby.name, what, "set it to 0, or do not send reads and failovers there"
        )
    if standby.settings.get("hot_standby", "on") != "on":
        yield wrong("replication", standby.name, "hot_standby is off", _ALTER.format("hot_standby", "on"))


def _about_settings(primary: ServerFacts, standbys: int) -> Iterator[Finding]:
    """Settings without which nothing is streamed, now or after the roles have changed."""
    level = primary.settings.get("wal_level", "replica")
    if level == "minimal":
        yield wrong(
            "replication", primary.name, "wal_level is minimal", _ALTER.format("wal_level", "replica")
        )
    else:
        yield ok("replication", primary.name, f"wal_level is {level}")
    senders = primary.number("max_wal_senders")
    wanted = max(standbys, len(primary.standbys)) + 1  # one more, for a backup or a standby that comes back
    if senders is not None and senders < wanted:
        what = f"max_wal_senders is {senders}, for {wanted - 1} standbys and a backup"
        yield warning("replication", primary.name, what, _ALTER.format("max_wal_senders", max(10, wanted)))
    if primary.settings.get("hot_standby", "on") != "on":
        what = "hot_standby is off: once it is a standby, nobody can connect to it"
        yield warning("replication", primary.name, what, _ALTER.format("hot_standby", "on"))


def about_synchronous(config: Config, primary: ServerFacts) -> Iterator[Finding]:
    """Whether a commit that was acknowledged survives the primary."""
    names = primary.settings.get("synchronous_standby_names", "").strip()
    synchronous = [each.name for each in primary.standbys if each.sync_state in ("sync", "quorum")]
    if not names:
        if config.failover.enabled and config.topology.promotes:
            what = "replication is asynchronous: a failover may lose the last commits"
            remedy = "ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'; SELECT pg_reload_conf()"
            yield warning("synchronous", primary.name, what, remedy)
    elif synchronous:
        yield ok("synchronous", primary.name, f"{', '.join(synchronous)} confirms commits")
    elif "replication" not in primary.unknown:
        what = f"no standby of synchronous_standby_names ({names}) is connected: every COMMIT waits for ever"
        remedy = "start one; its application_name in primary_conninfo must be in synchronous_standby_names"
        yield wrong("synchronous", primary.name, what, remedy)


def _about_streaming(primary: ServerFacts, standbys: Sequence[ServerFacts]) -> Iterator[Finding]:
    """Whether the primary sees as many as there are; it knows them by application_name only."""
    if "replication" in primary.unknown:
        return
    streaming = [each.name for each in primary.standbys if each.state == "streaming"]
    behind = [f"{each.name} ({each.state})" for each in primary.standbys if each.state != "streaming"]
    if behind:
        what = f"standbys that have not caught up: {', '.join(behind)}"
        yield warning(
            "replication", primary.name, what, "wait; if it does not end, look at network and disks"
        )
    if len(primary.standbys) < len(standbys):
        what = f"{len(standbys)} standbys are configured, and {len(primary.standbys)} are connected to it"
        yield warning(
            "replication", primary.name, what, "read the logs of the others; they may follow each other"
        )
    elif streaming:
        yield ok("replication", primary.name, f"streams to {', '.join(streaming)}")


def _about_slot(primary: ServerFacts) -> Callable[[SlotSeen], Finding]:
    def judge(slot: SlotSeen) -> Finding:
        about, drop = f"{primary.name}, slot {slot.name}", f"SELECT pg_drop_replication_slot('{slot.name}')"
        if slot.wal_status == "lost":
            return wrong("slots", about, "the WAL that it needs is gone", f"build its standby anew; {drop}")
        if not slot.active and slot.kept >= _MUCH_WAL:
            what = f"nobody reads it, and {slot.kept >> 20} MB of WAL are kept for it, until the disk is full"
            return wrong("slots", about, what, f"start who reads it, or {drop}")
        if not slot.active:
            return warning(
                "slots", about, "nobody reads it, and WAL is kept for it", f"start who reads it, or {drop}"
            )
        return ok("slots", about, "is read")

    return judge


def _about_releases(members: Sequence[ServerFacts]) -> Iterator[Finding]:
    """Copies of the same data have one major release; minor ones may differ while they are upgraded."""
    releases = {f"{each.major}.{each.version % 10000}": each.name for each in members}
    if len(releases) > 1:
        what = f"the servers of one cluster have different releases: {', '.join(sorted(releases))}"
        names = ", ".join(each.name for each in members)
        yield warning("version", names, what, "upgrade the older ones, standbys first")
