"""SET, RESET and their many spellings, as changes of parameters.

`flattened` does what PostgreSQL's `flatten_set_variable_args` (guc_funcs.c) does, so that a value noted here
and handed to set_config() gives the same setting. Called by `statements`; `scope_of` by `calls` too.
"""

from __future__ import annotations

import re
from typing import Any, Final

from .constants import Node, folded, string_literal, type_name
from .facts import SettingChange
from .kinds import ChangeKind, Scope
from .quote import LIST_QUOTE_PARAMETERS, quote_identifier

_TRANSACTION_PARAMETERS: Final = frozenset(
    {"transaction_isolation", "transaction_read_only", "transaction_deferrable"}
)
# With these an interval means the same without its fields (HOUR TO MINUTE).
_CLOCK_OFFSET: Final = re.compile(r"[+-]?\d{1,2}:\d\d(:\d\d)?")


def scope_of(name: str, scope: Scope) -> Scope:
    """Parameters of the running transaction end with it, however they are set."""
    return Scope.TRANSACTION if name in _TRANSACTION_PARAMETERS else scope


def setting_changes(node: Node) -> tuple[SettingChange, ...]:
    """The changes that a VariableSetStmt makes, in order; SET TRANSACTION SNAPSHOT makes none."""
    scope = Scope.LOCAL if node.get("is_local") else Scope.SESSION
    kind: str = node["kind"]
    if kind == "VAR_RESET_ALL":
        return (SettingChange("", kind=ChangeKind.RESET_ALL),)
    if kind == "VAR_SET_MULTI":
        return _several(node, scope)
    return (_single(folded(node["name"]), kind, node.get("args", []), scope),)


def is_reset(node: Node) -> bool:
    """Whether a VariableSetStmt is written RESET."""
    return node["kind"] in ("VAR_RESET", "VAR_RESET_ALL")


def _single(name: str, kind: str, args: list[Node], scope: Scope) -> SettingChange:
    scope = scope_of(name, scope)
    if kind in ("VAR_SET_DEFAULT", "VAR_RESET"):
        return SettingChange(name, None, scope, ChangeKind.RESET)
    if kind == "VAR_SET_CURRENT":
        return SettingChange(name, None, scope, certain=False)
    value = flattened(name, args)
    return SettingChange(name, value, scope, certain=value is not None)


def _several(node: Node, scope: Scope) -> tuple[SettingChange, ...]:
    """SET TRANSACTION and SET SESSION CHARACTERISTICS AS TRANSACTION."""
    if node["name"] == "TRANSACTION SNAPSHOT":
        return ()
    prefix = "default_" if node["name"] == "SESSION CHARACTERISTICS" else ""
    return tuple(
        _single(prefix + element["defname"], "VAR_SET_VALUE", [element["arg"]], scope)
        for element in transaction_modes(node.get("args", []))
    )


def transaction_modes(items: list[Node]) -> list[dict[str, Any]]:
    """The DefElems of a list of transaction modes (transaction_isolation, ..._read_only, ..._deferrable)."""
    return [item["DefElem"] for item in items if "arg" in item.get("DefElem", ())]


def flattened(name: str, args: list[Node]) -> str | None:
    """The arguments of SET as the one string that PostgreSQL makes of them; None where only it can tell."""
    values = [_argument(name, argument) for argument in args]
    known = [value for value in values if value is not None]
    return ", ".join(known) if len(known) == len(values) else None


def _argument(name: str, node: Node) -> str | None:
    if "TypeCast" in node:
        return _interval(node["TypeCast"])
    constant = node.get("A_Const", {})
    if "ival" in constant:
        return str(constant["ival"].get("ival", 0))
    if "fval" in constant:
        number: str = constant["fval"]["fval"]
        return number
    text = string_literal(node)
    if text is not None and name in LIST_QUOTE_PARAMETERS:
        return quote_identifier(text)
    return text


def _interval(cast: Node) -> str | None:
    """SET TIME ZONE INTERVAL '...' [HOUR TO MINUTE]."""
    text = string_literal(cast["arg"])
    type_ = cast["typeName"]
    if text is None or type_name(type_) != "interval":
        return None
    if type_.get("typmods") and not _CLOCK_OFFSET.fullmatch(text):
        return None
    return f"INTERVAL '{text}'" if "'" not in text else None
