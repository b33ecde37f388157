"""The configuration for people: a commented file of defaults, a reference page, and a dump without secrets.

All three are generated from the classes of the sections, so that they cannot differ from what the loader
does.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from textwrap import wrap
from typing import Any, Final

import attrs

from helios_trio.config import toml
from helios_trio.config.keys import Leaf, Path, Table, Tables, dotted, shapes
from helios_trio.config.root import Config

_WIDTH: Final = 100

_HEAD: Final = """\
# The configuration of helios, with its defaults. A line that begins with "#" and no space is a key that is
# absent by default, with an example. Any key can be overridden from the environment, as HELIOS__SECTION__KEY,
# and "${NAME}" inside a string is taken from it.
"""

_INTRODUCTION: Final = """\
# Configuration

One TOML file: `helios serve --config helios.toml`. Without `--config` it is `./helios.toml` if there is one,
else all defaults hold. Without `[[backends.pools]]` the proxy starts and uses its embedded PostgreSQL
cluster.

* `helios config --defaults` prints a commented file with all defaults; `helios config` prints what is in
  force.
* `helios check-config FILE` reports all errors at once, each as `file: path.to.key: value: what was
  expected`.
* `helios import-pgbouncer pgbouncer.ini` writes such a file from PgBouncer's, and names what is not carried
  over.
* Durations are strings: `"500ms"`, `"30s"`, `"5m"`, `"1h30m"` (units us, ms, s, m or min, h, d). `"off"`,
  where allowed, is no limit.
* Sizes are strings in PostgreSQL's units of 1024: `"16kB"`, `"64MB"`, `"1GB"`.
* `${NAME}` inside a string is replaced by the environment variable `NAME`, which must be set; `$${` stands
  for `${`.
* `HELIOS__SECTION__KEY` in the environment overrides any key, items of arrays by index:
  `HELIOS__BACKENDS__POOLS__0__PORT=5433`. Keys that are not strings take a TOML value.
* Relative paths are relative to the folder of the file (without a file: to the current one).
* Unknown keys and sections are errors. A secret is never shown, neither in an error nor in a dump.
* SIGHUP reloads the file. Keys marked "no" under *live* keep their value until the next start, and the log
  says so.

This page is generated from the classes in `helios_trio.config`.
"""


def masked(config: Config) -> dict[str, Any]:
    """`config` as plain values, the way a TOML file has them, secrets masked and absent keys left out."""
    return _plain(config)


def _plain(section: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, shape in shapes(type(section)).items():
        value = getattr(section, name)
        match shape:
            case Leaf(kind) if value is not None or kind.none_is_off:
                found[name] = kind.write(value)
            case Table():
                found[name] = _plain(value)
            case Tables() if value:
                found[name] = [_plain(each) for each in value]
            case _:
                pass
    return found


def masked_toml(config: Config) -> str:
    """`config` as a TOML file without its secrets."""
    return toml.document(masked(config))


def defaults_toml() -> str:
    """A file with every section and key, commented; loading it gives the defaults."""
    return "\n".join([_HEAD.rstrip(), *_section_lines(Config, ())]) + "\n"


def _section_lines(section: type, path: Path) -> Iterator[str]:
    if path:
        yield from ("", *_comment(_words_on(section)), f"[{dotted(path)}]")
    yield from _key_lines(section)
    for name, shape in shapes(section).items():
        match shape:
            case Table(inner) if not any(isinstance(each, Leaf) for each in shapes(inner).values()):
                yield from _item_lines(inner, (*path, name))
            case Table(inner):
                yield from _section_lines(inner, (*path, name))
            case _:
                pass
    yield from _item_lines(section, path)


def _item_lines(section: type, path: Path) -> Iterator[str]:
    """The arrays of tables in `section`, commented out."""
    for name, shape in shapes(section).items():
        if isinstance(shape, Tables):
            yield from ("", *_comment(_words_on(shape.section)), f"#[[{dotted((*path, name))}]]")
            yield from _key_lines(shape.section, absent=True)


def _key_lines(section: type, *, absent: bool = False) -> Iterator[str]:
    for name, leaf, default in _keys(section):
        yield from _comment(leaf.notes.comment)
        given = None if default is attrs.NOTHING else default
        shown = leaf.notes.example if given is None else leaf.kind.write(given)
        off = "#" if absent or given is None else ""
        yield f"{off}{toml.name(name)} = {toml.value(shown)}"


def _keys(section: type) -> Iterator[tuple[str, Leaf, Any]]:
    """The keys of `section` with their defaults."""
    for name, shape in shapes(section).items():
        if isinstance(shape, Leaf):
            yield name, shape, attrs.fields_dict(section)[name].default


def _comment(text: str) -> Iterator[str]:
    return (f"# {line}" for line in wrap(text, _WIDTH))


def _words_on(section: type) -> str:
    return " ".join((inspect.getdoc(section) or "").split())


def reference_markdown() -> str:
    """The reference page, docs/configuration.md."""
    return "\n".join([_INTRODUCTION, *_pages(Config, ())]).rstrip() + "\n"


def _pages(section: type, path: Path) -> Iterator[str]:
    for name, shape in shapes(section).items():
        here = (*path, name)
        match shape:
            case Table(inner):
                yield from _page(inner, f"[{dotted(here)}]")
                yield from _pages(inner, here)
            case Tables(inner):
                yield from _page(inner, f"[[{dotted(here)}]]")
            case _:
                pass


def _page(section: type, title: str) -> Iterator[str]:
    rows = [_row(name, leaf, default) for name, leaf, default in _keys(section)]
    if rows:
        yield from (f"## `{title}`", _words_on(section), "")
        yield from ("| key | value | default | live | meaning |", "|---|---|---|---|---|", *rows, "")


def _row(name: str, leaf: Leaf, default: Any) -> str:
    match default:
        case None:
            shown = "absent"
        case attrs.NOTHING:
            shown = "must be given"
        case _:
            shown = f"`{toml.value(leaf.kind.write(default))}`"
    cells = (f"`{name}`", leaf.kind.expected, shown, "yes" if leaf.notes.live else "no", leaf.notes.comment)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
