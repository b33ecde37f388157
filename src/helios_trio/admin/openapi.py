"""The OpenAPI 3.1 document, made from the routes and the very classes that are read and answered.

Used by: admin.api (`/api/v1/openapi.json`).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Final, Union, cast, get_args, get_origin

import attrs

from helios_trio import __version__
from helios_trio.admin.routing import Route
from helios_trio.config import kinds
from helios_trio.config.keys import Leaf, Tables, attributes, shapes

Schema = dict[str, Any]

_PLACEHOLDER: Final = re.compile(r"<(?:(?P<kind>\w+):)?(?P<name>\w+)>")
_PLAIN: Final[dict[type, Schema]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    datetime: {"type": "string", "format": "date-time"},
}
_PROBLEM: Final = {
    "type": "object",
    "description": "Problem details (RFC 9457).",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "code": {"type": "string"},
        "hint": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"path": {"type": "string"}, "message": {"type": "string"}},
                "required": ["path", "message"],
            },
        },
    },
    "required": ["type", "title", "status", "detail", "instance"],
}

#: PostgreSQL has no text with it.
_NO_NUL: Final = r"^[^\u0000]*$"
#: As `config.units` reads them.
_DURATION: Final = r"^\s*(?:[0-9]+(?:\.[0-9]+)?\s*(?:us|ms|min|s|m|h|d)\s*)+$"

_STREAM: Final = "/api/v1/stream"
_STREAM_OPERATION: Final = {
    "summary": "What happens, live: a WebSocket, or server-sent events",
    "description": (
        'Needs a key of the role viewer; a WebSocket may also send it as its first message, `{"key": ...}`. Each '
        "message is an object of `topic`, `id` (of an event, else null) and `data`, which is what the API answers for "
        'that topic. `{"topics": [...]}` chooses others.'
    ),
    "operationId": "GET /api/v1/stream",
    "parameters": [
        {"name": "topics", "in": "query", "required": False, "schema": {"type": "string"}},
        {"name": "last_event_id", "in": "query", "required": False, "schema": {"type": "string"}},
    ],
    "responses": {
        "200": {"description": "Live.", "content": {"text/event-stream": {"schema": {"type": "string"}}}},
        "default": {
            "description": "What is wrong.",
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        },
    },
    "security": [{"bearer": []}, {"key": []}],
}


def document(routes: Iterable[Route]) -> Schema:
    """The whole document."""
    schemas: dict[str, Schema] = {"Problem": _PROBLEM}
    paths: dict[str, Schema] = {}
    for route in routes:
        path = _PLACEHOLDER.sub(r"{\g<name>}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, schemas)
    paths[_STREAM] = {"get": _STREAM_OPERATION}
    return {
        "openapi": "3.1.0",
        "info": {"title": "helios_trio", "version": __version__, "license": {"name": "AGPL-3.0-only"}},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _operation(route: Route, schemas: dict[str, Schema]) -> Schema:
    found: Schema = {
        "summary": route.summary,
        "description": f"Needs a key of the role {route.role}.",
        "operationId": route.name,
        "parameters": [*_path_parameters(route), *_query_parameters(route)],
        "responses": _responses(route, schemas),
        "security": [{"bearer": []}, {"key": []}, *([{}] if route.health else [])],
    }
    if route.body is not None:
        schema, required = _keys_schema(route.body, schemas), bool(_required(route.body))
        content = {"application/json": {"schema": schema if required else _or_null(schema)}}
        found["requestBody"] = {"required": required, "content": content}
    return found


def _path_parameters(route: Route) -> Iterator[Schema]:
    for found in _PLACEHOLDER.finditer(route.path):
        schema = {"type": "integer", "minimum": 0} if found["kind"] == "int" else {"type": "string"}
        yield {"name": found["name"], "in": "path", "required": True, "schema": schema}


def _query_parameters(route: Route) -> Iterator[Schema]:
    if route.query is None:
        return
    required = _required(route.query)
    for name, schema in _properties(route.query, {}).items():
        yield {"name": name, "in": "query", "required": name in required, "schema": schema}


def _responses(route: Route, schemas: dict[str, Schema]) -> Schema:
    answer = {"type": "object"} if route.answer is None else schema_of(route.answer, schemas)
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    found: Schema = {
        str(int(status)): {"description": what, "content": {"application/json": {"schema": answer}}}
        for status, what in {route.status: "Done.", **route.also}.items()
    }
    return found | {"default": {"description": "What is wrong.", "content": problem}}


# -- what is read: classes of keys -----------------------------------------------------------------------------


def _keys_schema(section: type, schemas: dict[str, Schema]) -> Schema:
    """A reference to the schema of a class of keys."""
    if section.__name__ not in schemas:
        schema = schemas[section.__name__] = _object(section)
        required = _required(section)
        schema["properties"] = {
            name: each if name in required else _or_null(each)
            for name, each in _properties(section, schemas).items()
        }
        schema["additionalProperties"] = False
        schema["required"] = required
    return {"$ref": f"#/components/schemas/{section.__name__}"}


def _required(section: type) -> list[str]:
    return [each.name for each in attributes(section) if each.default is attrs.NOTHING]


def _or_null(schema: Schema) -> Schema:
    """null is the same as nothing."""
    if "type" not in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    more = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return {**schema, "type": [schema["type"], "null"], **more}


def _properties(section: type, schemas: dict[str, Schema]) -> dict[str, Schema]:
    found = {}
    for name, shape in shapes(section).items():
        match shape:
            case Leaf(kind, notes):
                found[name] = {**kind_schema(kind), "description": notes.comment}
                default = attrs.fields_dict(section)[name].default
                if default is not None and default is not attrs.NOTHING:
                    found[name]["default"] = kind.write(default)
            case Tables(item):
                found[name] = {"type": "array", "items": _keys_schema(item, schemas)}
            case _:
                found[name] = _keys_schema(shape.section, schemas)
    return found


def kind_schema(kind: kinds.Kind) -> Schema:
    """The schema of one value of the configuration's kinds."""
    match kind:
        case kinds.Flag():
            return {"type": "boolean"}
        case kinds.Integer():
            return {"type": "integer", "minimum": kind.minimum, "maximum": kind.maximum}
        case kinds.Percentage():
            return {"type": "number", "exclusiveMinimum": 0, "maximum": 100}
        case kinds.Number():
            return {"type": "number", "minimum": 0}
        case kinds.Choice():
            return {"type": "string", "enum": [str(word) for word in kind.words]}
        case kinds.Texts():
            return {"type": "array", "items": {"type": "string", "minLength": 1}}
        case kinds.Moment():
            return {"type": "string", "format": "date-time"}
        case kinds.Text():
            return {"type": "string", "minLength": 0 if kind.empty else 1, "pattern": _NO_NUL}
        case kinds.Duration():
            return {"type": "string", "title": kind.expected, "pattern": _DURATION}
        case _:
            return {"type": "string", "title": kind.expected}


# -- what is answered: plain classes ---------------------------------------------------------------------------


def schema_of(annotation: Any, schemas: dict[str, Schema]) -> Schema:
    """The schema of a type that stands in a class of answers; classes go to `schemas` by their name."""
    if annotation in _PLAIN:
        return dict(_PLAIN[annotation])
    if annotation is Any:
        return {}
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return _union(arguments, schemas)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": schema_of(arguments[1], schemas)}
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return {"type": "array", "items": schema_of(arguments[0], schemas)}
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return {"type": "string", "enum": [each.value for each in annotation]}
    return _view_schema(annotation, schemas)


def _union(arguments: tuple[Any, ...], schemas: dict[str, Schema]) -> Schema:
    options = [schema_of(each, schemas) for each in arguments if each is not NoneType]
    if NoneType in arguments:
        options.append({"type": "null"})
    return {"anyOf": options}


def _view_schema(view: type, schemas: dict[str, Schema]) -> Schema:
    if view.__name__ not in schemas:
        schema = schemas[view.__name__] = _object(view)
        attrs.resolve_types(cast(Any, view))
        fields = attrs.fields(cast(Any, view))
        schema["properties"] = {each.name: schema_of(each.type, schemas) for each in fields}
        schema["required"] = [each.name for each in fields]
    return {"$ref": f"#/components/schemas/{view.__name__}"}


def _object(of: type) -> Schema:
    return {"type": "object", "description": " ".join((inspect.getdoc(of) or "").split())}
