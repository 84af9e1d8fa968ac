"""OpenAPI 3.1 from the table of routes: what is documented is what is served."""

import functools
import re
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from vallum.schema import Record
from vallum.schema.api import Problem
from vallum.schema.routes import PREFIX, ROUTES, Route

_PARAMETER = re.compile(r"\{(\w+)\}")
JsonObject = dict[str, Any]


def path_parameters(route: Route) -> tuple[str, ...]:
    """Return the names of the parameters in a route's path."""
    return tuple(_PARAMETER.findall(route.path))


def query_fields(route: Route) -> tuple[str, ...]:
    """Return the argument fields that travel in the query."""
    if route.method in {"GET", "DELETE"} or route.upload:
        in_path = path_parameters(route)
        return tuple(
            field.name
            for field in msgspec.structs.fields(route.arguments)
            if field.name not in in_path
        )
    return ()


def body_type(route: Route) -> type[Record] | None:
    """Return the record of the JSON body: the arguments without what the path holds."""
    if route.method in {"GET", "DELETE"} or route.upload:
        return None
    in_path = path_parameters(route)
    return _without(route.arguments, in_path) if in_path else route.arguments


@functools.cache
def _without(arguments: type[Record], names: tuple[str, ...]) -> type[Record]:
    fields: list[Any] = [
        (field.name, field.type) if field.required else (field.name, field.type, _default(field))
        for field in msgspec.structs.fields(arguments)
        if field.name not in names
    ]
    made = msgspec.defstruct(
        f"{arguments.__name__}Body",
        fields,
        bases=(Record,),
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
    )
    return cast("type[Record]", made)


def document(version: str, bodies: Mapping[str, type[Record] | None]) -> JsonObject:
    """Return the whole interface as an OpenAPI 3.1 document."""
    types: list[Any] = [Problem]
    for route in ROUTES:
        types.extend([route.arguments, route.reply])
        body = bodies[route.step]
        if body is not None:
            types.append(body)
    _, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    paths: dict[str, JsonObject] = {}
    for route in ROUTES:
        paths.setdefault(PREFIX + route.path, {})[route.method.lower()] = _operation(
            route, bodies[route.step]
        )
    return {
        "openapi": "3.1.0",
        "info": {"title": "Vallum", "version": version, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"bearer": []}],
    }


def _operation(route: Route, body: type[Record] | None) -> JsonObject:
    in_path = path_parameters(route)
    fields = {field.name: field for field in msgspec.structs.fields(route.arguments)}
    parameters: list[JsonObject] = []
    for name in in_path:
        parameters.append(
            {
                "name": name,
                "in": "path",
                "required": True,
                "schema": {"type": "string", "minLength": 1, "maxLength": 128},
            }
        )
    for name in query_fields(route):
        parameters.append(
            {
                "name": name,
                "in": "query",
                "required": fields[name].required,
                "schema": msgspec.json.schema(fields[name].type),
            }
        )
    if route.method != "GET":
        parameters.append(
            {"name": "dry_run", "in": "query", "required": False, "schema": {"type": "boolean"}}
        )
    problem = {
        "description": "A problem (RFC 9457)",
        "content": {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
        },
    }
    reply: JsonObject = (
        {route.media_type: {"schema": {"type": "string", "format": "binary"}}}
        if route.download
        else {
            "application/json": {"schema": {"$ref": f"#/components/schemas/{route.reply.__name__}"}}
        }
    )
    operation: JsonObject = {
        "operationId": route.step,
        "summary": route.summary,
        "tags": [route.step.partition(".")[0]],
        "parameters": parameters,
        "responses": {
            "200": {"description": route.summary, "content": reply},
            "default": problem,
        },
    }
    if body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": f"#/components/schemas/{body.__name__}"}}
            },
        }
    if route.upload:
        operation["requestBody"] = {
            "required": True,
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
            },
        }
    return operation


def _default(field: msgspec.structs.FieldInfo) -> object:
    if field.default_factory is not msgspec.NODEFAULT:
        return msgspec.field(default_factory=field.default_factory)
    return field.default
