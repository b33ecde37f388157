"""Reading literals out of the JSON parse tree. Called by the handlers that need the value of an argument.

libpg_query leaves out what is zero: 0 is `{"ival": {}}`, false is `{"boolval": {}}`.
"""

from __future__ import annotations

from typing import Any, Final

Node = dict[str, Any]

_TEXT_TYPES: Final = frozenset({"text", "varchar", "bpchar", "name"})
_INTEGER_TYPES: Final = frozenset({"int2", "int4", "int8"})
_BOOLEANS: Final = {
    **dict.fromkeys(("t", "tr", "tru", "true", "y", "ye", "yes", "on", "1"), True),
    **dict.fromkeys(("f", "fa", "fal", "fals", "false", "n", "no", "of", "off", "0"), False),
}


def folded(name: str) -> str:
    """Lower case as PostgreSQL compares parameter names: ASCII letters only."""
    return name.lower() if name.isascii() else "".join(c.lower() if c.isascii() else c for c in name)


def names_of(items: list[Node]) -> tuple[str, ...]:
    """The strings of a list of String nodes, such as a qualified name."""
    return tuple(item["String"].get("sval", "") for item in items if "String" in item)


def is_null(node: Node) -> bool:
    """Whether an expression is the literal NULL, perhaps with a cast."""
    inner = _without_cast(node, None)
    return inner is not None and bool(inner.get("isnull"))


def string_literal(node: Node) -> str | None:
    """The value of a string literal, with or without a cast to a text type; None for anything else."""
    inner = _without_cast(node, _TEXT_TYPES)
    if inner is None or "sval" not in inner:
        return None
    value: str = inner["sval"].get("sval", "")
    return value


def integer_literal(node: Node) -> int | None:
    """The value of an integer literal (a number or a string of digits), with or without a cast; else None."""
    inner = _without_cast(node, _INTEGER_TYPES)
    if inner is None:
        return None
    if "ival" in inner:
        value: int = inner["ival"].get("ival", 0)
        return value
    digits = inner["fval"]["fval"] if "fval" in inner else inner.get("sval", {}).get("sval", "")
    return int(digits) if _is_integer(digits) else None


def boolean_literal(node: Node) -> bool | None:
    """The value of a boolean literal (`true`, or a string PostgreSQL reads as boolean), else None."""
    inner = _without_cast(node, frozenset({"bool"}))
    if inner is None:
        return None
    if "boolval" in inner:
        return bool(inner["boolval"].get("boolval", False))
    if "sval" in inner:
        return _BOOLEANS.get(inner["sval"].get("sval", "").strip().lower())
    return None


def type_name(node: Node) -> str:
    """The last part of a type's name, as in a TypeName node without its wrapper."""
    names = names_of(node.get("names", []))
    return names[-1] if names else ""


def _is_integer(digits: str) -> bool:
    return len(digits) <= 20 and digits.isascii() and digits.removeprefix("-").isdigit()


def _without_cast(node: Node, types: frozenset[str] | None) -> Node | None:
    """The constant itself, behind at most one cast to one of `types` (None: to any type)."""
    cast = node.get("TypeCast")
    if cast is not None:
        if types is not None and type_name(cast["typeName"]) not in types:
            return None
        node = cast["arg"]
    constant: Node | None = node.get("A_Const")
    return constant
