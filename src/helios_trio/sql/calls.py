"""What function calls mean for the session: set_config, advisory locks, pg_notify, and unknown functions.

Called by `parse` with the calls that a walk has found and with those among them that certainly run exactly
once: calls that stand alone as an output column of a SELECT without FROM, WHERE and the like.
"""

from __future__ import annotations

from typing import Any, Final

from attrs import Factory, define

from .builtins import SEQUENCE_STATE_FUNCTIONS, SESSION_FUNCTIONS, Volatility, volatility
from .constants import Node, boolean_literal, folded, integer_literal, is_null, names_of, string_literal
from .facts import AdvisoryCall, SettingChange
from .kinds import AdvisoryLevel, ChangeKind, Scope
from .settings import scope_of

_SINGLE_ROW_FIELDS: Final = frozenset({"targetList", "limitOption", "op"})


def _advisory_functions() -> dict[str, AdvisoryCall]:
    """A pattern per function (PostgreSQL docs: "Advisory Lock Functions"); calls fill in the keys."""
    found = {"pg_advisory_unlock_all": AdvisoryCall("pg_advisory_unlock_all", (), unlock_all=True)}
    for suffix, shared in (("", False), ("_shared", True)):
        name = f"pg_advisory_unlock{suffix}"
        found[name] = AdvisoryCall(name, None, shared=shared, unlock=True)
        for prefix, is_try in (("pg_", False), ("pg_try_", True)):
            for infix, level in (("", AdvisoryLevel.SESSION), ("xact_", AdvisoryLevel.TRANSACTION)):
                name = f"{prefix}advisory_{infix}lock{suffix}"
                found[name] = AdvisoryCall(name, None, level, shared, is_try)
    return found


_ADVISORY: Final = _advisory_functions()


@define
class CallFindings:
    """Facts from calls; the dictionaries are used as ordered sets of names."""

    functions: dict[str, None] = Factory(dict)
    settings: list[SettingChange] = Factory(list)
    unknown_settings: bool = False
    local_settings_unknown: bool = False
    advisory: list[AdvisoryCall] = Factory(list)
    notifies: list[str | None] = Factory(list)

    def fields(self) -> dict[str, Any]:
        """As arguments of `StatementFacts`."""
        functions = tuple(self.functions)
        return {
            "functions": functions,
            "volatile_functions": tuple(f for f in functions if volatility(f) is Volatility.VOLATILE),
            "user_functions": tuple(f for f in functions if volatility(f) is None),
            "session_functions": tuple(f for f in functions if f in SESSION_FUNCTIONS),
            "sequence_state": not SEQUENCE_STATE_FUNCTIONS.isdisjoint(functions),
            "settings": tuple(self.settings),
            "unknown_settings": self.unknown_settings,
            "local_settings_unknown": self.local_settings_unknown,
            "advisory": tuple(self.advisory),
            "notifies": tuple(self.notifies),
        }


def function_name(call: Node) -> str:
    """The name as `StatementFacts.functions` has it: "f", or "schema.f" unless the schema is pg_catalog."""
    names = names_of(call["funcname"])
    return names[-1] if names[:-1] == ("pg_catalog",) else ".".join(names)


def bare_calls(statement: Node) -> frozenset[int]:
    """Identities of the calls that run exactly once: `SELECT f(), g()` and nothing else around them."""
    select = statement.get("SelectStmt")
    if select is None or not select.keys() <= _SINGLE_ROW_FIELDS:
        return frozenset()
    values = (target["ResTarget"].get("val", {}) for target in select.get("targetList", ()))
    return frozenset(id(call) for value in values if (call := _call_in(value)) is not None)


def _call_in(value: Node) -> Node | None:
    """The call that an output column consists of, perhaps with a cast behind it."""
    if "TypeCast" in value:
        value = value["TypeCast"].get("arg", {})
    call: Node | None = value.get("FuncCall")
    return call


def examine(calls: list[Node], bare: frozenset[int], value_functions: dict[str, None]) -> CallFindings:
    """Look at every call of a statement that runs."""
    findings = CallFindings()
    for call in calls:
        name = function_name(call)
        findings.functions[name] = None
        if name in _ADVISORY:
            findings.advisory.append(_advisory_call(name, call, id(call) in bare))
        elif name == "set_config":
            _set_config(call.get("args", []), id(call) in bare, findings)
        elif name == "pg_notify":
            findings.notifies.append(string_literal(_argument(call, 0)))
    findings.functions |= value_functions
    return findings


def _argument(call: Node, position: int) -> Node:
    args: list[Node] = call.get("args", [])
    return args[position] if position < len(args) else {}


def _advisory_call(name: str, call: Node, certain: bool) -> AdvisoryCall:
    pattern = _ADVISORY[name]
    keys = [integer_literal(argument) for argument in call.get("args", [])]
    known = tuple(key for key in keys if key is not None)
    return AdvisoryCall(
        function=name,
        args=known if len(known) == len(keys) else None,
        level=pattern.level,
        shared=pattern.shared,
        is_try=pattern.is_try,
        unlock=pattern.unlock,
        unlock_all=pattern.unlock_all,
        certain=certain,
    )


def _set_config(args: list[Node], bare: bool, findings: CallFindings) -> None:
    """set_config(name, value, is_local); a NULL value means the default, a NULL is_local means false."""
    if len(args) != 3:
        findings.unknown_settings = True
        return
    name, value, local = args
    is_local = False if is_null(local) else boolean_literal(local)
    parameter, text = string_literal(name), string_literal(value)
    certain = bare and is_local is not None and (text is not None or is_null(value))
    if parameter is not None and is_local is not None:
        scope = Scope.LOCAL if is_local else Scope.SESSION
        kind = ChangeKind.SET if text is not None or not is_null(value) else ChangeKind.RESET
        found = SettingChange(folded(parameter), text, scope_of(folded(parameter), scope), kind, certain)
        findings.settings.append(found)
    if parameter is None or not certain:
        _note_unknown(is_local, findings)


def _note_unknown(is_local: bool | None, findings: CallFindings) -> None:
    if is_local:
        findings.local_settings_unknown = True
    else:
        findings.unknown_settings = True
