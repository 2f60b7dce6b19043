"""The API's documentation as one page that needs no script and nothing from another host."""

from __future__ import annotations

from html import escape
from typing import Any


def page(document: dict[str, Any]) -> str:
    """HTML of an OpenAPI document: its operations, then the shapes that they use."""
    info = document["info"]
    operations = [
        _operation(document, path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    shapes = [_shape(name, schema) for name, schema in sorted(document["components"]["schemas"].items())]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Lungsight API</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="stylesheet" href="static/style.css">'
        '</head><body class="docs"><header><h1>Lungsight API</h1>'
        f'<p id="notice"><strong>{escape(info["description"])}</strong></p></header><main>'
        f"<p>{escape(info['summary'])} Version {escape(info['version'])}. "
        'The same as <a href="openapi.json">OpenAPI</a>; the <a href="./">page</a>.</p>'
        "<p>Where the server was started with a token, requests carry it as "
        "<code>Authorization: Bearer TOKEN</code>.</p>"
        f"<h2>Operations</h2>{''.join(operations)}<h2>Shapes</h2>{''.join(shapes)}</main></body></html>"
    )


def _operation(document: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> str:
    parameters = [_resolved(document, one) for one in operation.get("parameters", [])]
    rows = "".join(
        f"<tr><td><code>{escape(one['name'])}</code></td><td>{escape(one['in'])}</td>"
        f"<td>{_kind(one['schema'])}</td><td>{escape(one.get('description', ''))}</td></tr>"
        for one in parameters
    )
    answers = ""
    for status, given in operation["responses"].items():
        response = _resolved(document, given)
        kinds = "".join(
            f"<li><code>{escape(kind)}</code> {_kind(content.get('schema', {}))}</li>"
            for kind, content in response.get("content", {}).items()
        )
        answers += f"<tr><td>{escape(status)}</td><td>{escape(response['description'])}</td>"
        answers += f"<td><ul>{kinds}</ul></td></tr>"
    body = operation.get("requestBody")
    sent = f"<p>Body: <code>{escape(', '.join(body['content']))}</code></p>" if body else ""
    words = "".join(f"<p>{escape(part)}</p>" for part in operation.get("description", "").split("\n\n"))
    return (
        f'<section id="{escape(operation["operationId"])}"><h3><code>{method.upper()} {escape(path)}</code> '
        f"{escape(operation['summary'])}</h3>{words}{sent}"
        f"<table><thead><tr><th>Name</th><th>In</th><th>Kind</th><th>Meaning</th></tr></thead><tbody>{rows}</tbody>"
        "</table><table><thead><tr><th>Status</th><th>When</th><th>Content</th></tr></thead>"
        f"<tbody>{answers}</tbody></table></section>"
    )


def _shape(name: str, schema: dict[str, Any]) -> str:
    words = "".join(f"<p>{escape(part)}</p>" for part in schema.get("description", "").split("\n\n"))
    if "enum" in schema:
        values = ", ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
        return f'<section id="{escape(name)}"><h3>{escape(name)}</h3>{words}<p>{values}</p></section>'
    rows = "".join(
        f"<tr><td><code>{escape(key)}</code></td><td>{_kind(value)}</td></tr>"
        for key, value in schema.get("properties", {}).items()
    )
    return (
        f'<section id="{escape(name)}"><h3>{escape(name)}</h3>{words}'
        f"<table><thead><tr><th>Field</th><th>Kind</th></tr></thead><tbody>{rows}</tbody></table></section>"
    )


def _resolved(document: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    found: Any = given
    if "$ref" in given:
        found = document
        for part in given["$ref"].removeprefix("#/").split("/"):
            found = found[part]
    return dict(found)


def _kind(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#{escape(name)}">{escape(name)}</a>'
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if schema.get("type") == "array":
        inner: dict[str, Any] = schema.get("items") or next(iter(schema.get("prefixItems", [])), {})
        return f"list of {_kind(inner)}" if inner else "list"
    return escape(str(schema.get("format") or schema.get("type") or "anything"))
