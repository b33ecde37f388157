"""A tiny PostgreSQL: the main loop's rules about who is answered, with a toy language in place of SQL.

Statements are words: `select x` gives one row holding the whole text, what ends with `fail` an error, `copy` begins
COPY FROM STDIN, `begin`, `commit` and `rollback` do what they say, the empty text is an empty query; everything else
succeeds with its first word as tag. Simple queries may hold several, separated by semicolons. A row of a COPY that
begins with "bad" fails it. Written after `PostgresMain` and `CopyGetData`; knows nothing of the code under test.
"""

from __future__ import annotations

from struct import pack, unpack_from

from attrs import define, field

EXTENDED = b"PBDECH"


def message(code: str, body: bytes = b"") -> bytes:
    """One frame."""
    return pack("!cI", code.encode(), len(body) + 4) + body


def query(text: str) -> bytes:
    """A Query."""
    return message("Q", text.encode() + b"\0")


def parse(text: str, name: str = "") -> bytes:
    """A Parse without parameter types."""
    return message("P", name.encode() + b"\0" + text.encode() + b"\0\0\0")


def bind(name: str = "", portal: str = "") -> bytes:
    """A Bind without parameters."""
    return message("B", portal.encode() + b"\0" + name.encode() + b"\0" + bytes(6))


def describe(name: str = "", kind: str = "S") -> bytes:
    """A Describe of a statement or a portal."""
    return message("D", kind.encode() + name.encode() + b"\0")


def close(name: str = "", kind: str = "S") -> bytes:
    """A Close of a statement or a portal."""
    return message("C", kind.encode() + name.encode() + b"\0")


def execute(portal: str = "") -> bytes:
    """An Execute of all rows."""
    return message("E", portal.encode() + b"\0" + bytes(4))


SYNC = message("S")
FLUSH = message("H")
COPY_DONE = message("c")
COPY_FAIL = message("f", b"no more\0")
TERMINATE = message("X")


def copy_data(row: str) -> bytes:
    """One row of a COPY."""
    return message("d", row.encode() + b"\n")


def error(sqlstate: str, text: str, severity: str = "ERROR") -> bytes:
    """An ErrorResponse."""
    fields = f"S{severity}\0V{severity}\0C{sqlstate}\0M{text}\0\0"
    return message("E", fields.encode())


def ready(status: str = "I") -> bytes:
    """A ReadyForQuery."""
    return message("Z", status.encode())


def complete(tag: str) -> bytes:
    """A CommandComplete."""
    return message("C", tag.encode() + b"\0")


def row(text: str) -> bytes:
    """A DataRow of one column."""
    return message("D", pack("!hi", 1, len(text.encode())) + text.encode())


ROW_DESCRIPTION = message("T", pack("!h", 1) + b"text\0" + bytes(6) + pack("!ihih", 25, -1, -1, 0))
NO_DATA = message("n")
COPY_IN = message("G", b"\0\0\1\0\0")


def split_frames(data: bytes) -> list[bytes]:
    """The messages in a stream that ends with a whole one."""
    frames = []
    while data:
        size = 1 + unpack_from("!I", data, 1)[0]
        frames.append(data[:size])
        data = data[size:]
    return frames


@define(eq=False)
class ModelServer:
    """One backend: give it bytes, get its answers."""

    status: str = "I"
    #: discarding everything up to Sync
    skipping: bool = False
    #: "Q" or "E" while a COPY begun by a Query or an Execute takes rows
    copying: str = ""
    #: the connection is closed
    gone: bool = False
    statements: dict[str, str] = field(factory=dict)
    portals: dict[str, str] = field(factory=dict)
    #: texts in the order in which they were executed
    executed: list[str] = field(factory=list)
    #: rows that each `select` gives
    rows: int = 1
    #: what it says when it is asked for what only its connection has: the counts, in the order asked for
    counts: list[int] = field(factory=list)
    #: codes of messages in the order in which they came
    received: list[str] = field(factory=list)
    _buffer: bytes = b""

    def feed(self, data: bytes) -> bytes:
        """Take bytes of any length; returns the answers to what is complete."""
        self._buffer += data
        answers = b""
        while len(self._buffer) >= 5 and not self.gone:
            size = 1 + unpack_from("!I", self._buffer, 1)[0]
            if len(self._buffer) < size:
                break
            frame, self._buffer = self._buffer[:size], self._buffer[size:]
            answers += self.take(frame)
        return answers

    @property
    def owes(self) -> bool:
        """Whether the client waits for something, all that was fed being answered."""
        return bool(self.copying) or self.skipping

    def take(self, frame: bytes) -> bytes:
        """Take one message; returns its answer."""
        code, body = chr(frame[0]), frame[5:]
        self.received.append(code)
        if self.copying:
            return self._take_in_copy(code, body)
        if self.skipping and code not in "SX":
            return b""
        match code:
            case "Q":
                return self._query(body[:-1].decode())
            case "P":
                name, text, _ = body.split(b"\0", 2)
                return self._parse(name.decode(), text.decode())
            case "B":
                portal, name, _ = body.split(b"\0", 2)
                return self._bind(portal.decode(), name.decode())
            case "D":
                return self._describe(body[:1], body[1:-1].decode())
            case "C":
                (self.statements if body[:1] == b"S" else self.portals).pop(body[1:-1].decode(), None)
                return message("3")
            case "E":
                return self._execute(body.split(b"\0", 1)[0].decode())
            case "S":
                self.skipping = False
                return self._end_unit()
            case "F":
                return message("V", pack("!i", -1)) + self._end_unit()
            case "X":
                self.gone = True
        return b""

    def _end_unit(self) -> bytes:
        if self.status == "I":
            self.portals.clear()
        return ready(self.status)

    def _fail(self, sqlstate: str, text: str, *, extended: bool) -> bytes:
        if self.status == "T":
            self.status = "E"
        if extended:
            self.skipping = True
            return error(sqlstate, text)
        return error(sqlstate, text) + self._end_unit()

    def _query(self, text: str) -> bytes:
        self.statements.pop("", None)
        parts = [part.strip() for part in text.split(";") if part.strip()]
        if not parts:
            return message("I") + self._end_unit()
        answer = b""
        for part in parts:
            if part.startswith("copy"):
                self.copying = "Q"
                return answer + COPY_IN
            done = self._run(part)
            if done is None:
                return answer + self._fail("22012", f"{part} failed", extended=False)
            answer += (ROW_DESCRIPTION if part.startswith("select") else b"") + done
        return answer + self._end_unit()

    def _run(self, text: str) -> bytes | None:
        """Rows and tag of one statement; None when it fails."""
        word = text.split(" ")[0].lower()
        if self.status == "E" and word not in ("rollback", "commit"):
            return None
        self.executed.append(text)
        if word in ("fail", "execute") or text.endswith(" fail"):
            return None
        if word == "begin":
            self.status = "T"
        elif word in ("commit", "rollback"):
            tag = "ROLLBACK" if self.status == "E" else word.upper()
            self.status = "I"
            return complete(tag)
        if "pg_catalog.count(*)" in text:
            return self._counts(text.count("pg_catalog.count(*)")) + complete("SELECT 1")
        return row(text) * self.rows + complete("SELECT 1") if word == "select" else complete(word.upper())

    def _counts(self, size: int) -> bytes:
        values = [str(count).encode() for count in [*self.counts, *[0] * size][:size]]
        return message("D", pack("!h", size) + b"".join(pack("!i", len(value)) + value for value in values))

    def _parse(self, name: str, text: str) -> bytes:
        if not name:
            self.statements.pop("", None)
        elif name in self.statements:
            return self._fail("42P05", f'prepared statement "{name}" already exists', extended=True)
        if text == "syntax":
            return self._fail("42601", "syntax error", extended=True)
        self.statements[name] = text
        return message("1")

    def _bind(self, portal: str, name: str) -> bytes:
        if name not in self.statements:
            return self._fail("26000", f'prepared statement "{name}" does not exist', extended=True)
        self.portals[portal] = self.statements[name]
        return message("2")

    def _describe(self, kind: bytes, name: str) -> bytes:
        known = self.statements if kind == b"S" else self.portals
        if name not in known:
            return self._fail("26000", f'"{name}" does not exist', extended=True)
        columns = ROW_DESCRIPTION if known[name].startswith("select") else NO_DATA
        return message("t", b"\0\0") + columns if kind == b"S" else columns

    def _execute(self, portal: str) -> bytes:
        if portal not in self.portals:
            return self._fail("34000", f'portal "{portal}" does not exist', extended=True)
        text = self.portals[portal]
        if not text:
            return message("I")
        if text.startswith("copy"):
            del self.portals[portal]
            self.copying = "E"
            return COPY_IN
        done = self._run(text)
        return self._fail("22012", f"{text} failed", extended=True) if done is None else done

    def _take_in_copy(self, code: str, body: bytes) -> bytes:
        if code in "HS" or (code == "d" and not body.startswith(b"bad")):
            return b""
        extended, self.copying = self.copying == "E", ""
        if code == "c":
            return complete("COPY 1") + (b"" if extended else self._end_unit())
        if code in "df":
            return self._fail("22P02", "COPY failed", extended=extended)
        self.gone = True
        return error("08P01", "unexpected message type", "ERROR") + error("08P01", "sync lost", "FATAL")
