"""How a section's class declares its keys, and how the rest of this package walks over them.

A section is a frozen attrs class; each attribute is a key, a table (another section) or an array of tables.
Comment, example and "may it change while running" stand beside the key, in the attribute's metadata, and
nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, cast, get_args, get_origin

import attrs
from attrs import frozen

from helios_trio.config.kinds import Kind

REQUIRED: Final[Any] = attrs.NOTHING
"""Default of a key that the file must give."""


@frozen
class Notes:
    """What is known about a key besides its type: the comment, an example, whether a reload may change it."""

    comment: str
    example: Any = None
    live: bool = True


def key(default: Any, comment: str, *, example: Any = None, live: bool = True) -> Any:
    """A key of a section. `example` is a TOML value shown where there is no default."""
    return attrs.field(default=default, metadata={"notes": Notes(comment, example, live)})


def inherited(section: type, name: str) -> Any:
    """A key that has the meaning it has in `section`, and is absent unless given."""
    shape = shapes(section)[name]
    assert isinstance(shape, Leaf), "only keys are inherited"
    example = shape.kind.write(attrs.fields_dict(section)[name].default)
    # whether it is live, the table that it is in says
    notes = attrs.evolve(shape.notes, example=example, live=True)
    return attrs.field(default=None, metadata={"notes": notes})


def table(section: type) -> Any:
    """A table of its own, `[section.name]`."""
    return attrs.field(factory=section)


def tables() -> Any:
    """An array of tables, `[[section.name]]`, empty by default."""
    return attrs.field(default=())


@frozen
class Leaf:
    """The shape of a key: one value of a kind."""

    kind: Kind
    notes: Notes


@frozen
class Table:
    """The shape of `[name]`."""

    section: type


@frozen
class Tables:
    """The shape of `[[name]]`."""

    section: type


Shape = Leaf | Table | Tables


def shapes(section: type[Any]) -> dict[str, Shape]:
    """The keys of `section` in order, with their shapes."""
    return {each.name: _shape(each) for each in attributes(section)}


def attributes(section: type) -> tuple[attrs.Attribute[Any], ...]:
    """The attributes of `section`, types resolved."""
    attrs.resolve_types(section)
    return cast("tuple[attrs.Attribute[Any], ...]", attrs.fields(section))


def kind_of(annotation: Any) -> Kind | None:
    """The kind in `Annotated[..., kind]`, also where it is optional."""
    if get_origin(annotation) in (Union, UnionType):
        annotation = next(each for each in get_args(annotation) if each is not NoneType)
    if get_origin(annotation) is not Annotated:
        return None
    return next((each for each in annotation.__metadata__ if isinstance(each, Kind)), None)


def _shape(attribute: attrs.Attribute[Any]) -> Shape:
    kind = kind_of(attribute.type)
    if kind is not None:
        return Leaf(kind, attribute.metadata["notes"])
    if get_origin(attribute.type) is tuple:
        return Tables(get_args(attribute.type)[0])
    return Table(cast("type", attribute.type))


Path = tuple[str | int, ...]
"""Where something stands: names of keys and indices in arrays."""


def dotted(path: Path) -> str:
    """`path` as people write it, `backends.pools.0.port`."""
    return ".".join(str(part) for part in path)


def find(section: type, path: Path) -> Shape | None:
    """What stands at `path` below `section`; None if nothing is known there."""
    shape: Shape | None = Table(section)
    for part in path:
        match shape, part:
            case Tables(item), int():
                shape = Table(item)
            case Table() as inner, str():
                shape = shapes(inner.section).get(part)
            case _:
                return None
    return shape


def leaves(instance: Any, path: Path = ()) -> Iterator[tuple[Path, Leaf, Any]]:
    """Every key below `instance` with where it stands, its shape and its value."""
    for name, shape in shapes(type(instance)).items():
        value = getattr(instance, name)
        match shape:
            case Leaf():
                yield (*path, name), shape, value
            case Table():
                yield from leaves(value, (*path, name))
            case Tables():
                for index, item in enumerate(value):
                    yield from leaves(item, (*path, name, index))
