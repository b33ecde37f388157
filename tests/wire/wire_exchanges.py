"""Reads the recorded exchanges of tests/wire/corpus (its README says what they are)."""

from __future__ import annotations

from pathlib import Path
from struct import Struct

from attrs import frozen

from helios_trio.wire.startup import StartupMessage, StartupPacket, parse_startup

CORPUS = sorted(Path(__file__).parent.glob("corpus/*.exchange"))
RECORD = Struct("!ci")


@frozen
class Exchange:
    """One recorded connection."""

    name: str
    records: tuple[tuple[bool, bytes], ...]
    """Pairs of "from the client" and bytes."""

    def stream(self, from_client: bool) -> bytes:
        """All that one side sent."""
        return b"".join(data for client, data in self.records if client is from_client)

    def opening(self) -> list[StartupPacket]:
        """The packets before the client's first frame."""
        rest, packets = self.stream(True), []
        while not packets or not isinstance(packets[-1], StartupMessage):
            parsed = parse_startup(rest)
            assert parsed is not None
            packets.append(parsed[0])
            rest = rest[parsed[1] :]
        return packets

    def framed(self) -> tuple[tuple[bool, bytes], ...]:
        """The records without packets, and without the byte that answers each packet but the last."""
        packets = self.opening()
        skip = {True: sum(len(packet.encode()) for packet in packets), False: len(packets) - 1}
        found = []
        for from_client, data in self.records:
            cut = min(skip[from_client], len(data))
            skip[from_client] -= cut
            found.append((from_client, data[cut:]))
        return tuple(found)

    def frames_of(self, from_client: bool) -> bytes:
        """All frames that one side sent."""
        return b"".join(data for client, data in self.framed() if client is from_client)


def read_exchange(path: Path) -> Exchange:
    """The exchange in a file of the corpus."""
    data, at, records = path.read_bytes(), 0, []
    while at < len(data):
        direction, size = RECORD.unpack_from(data, at)
        at += RECORD.size
        records.append((direction == b">", data[at : at + size]))
        at += size
    return Exchange(path.stem, tuple(records))


EXCHANGES = [read_exchange(path) for path in CORPUS]
