"""The OpenAPI document: operations by hand, the shapes of answers from the records themselves."""

from __future__ import annotations

from typing import Any

import msgspec

from lungsight import __version__
from lungsight.records import plain
from lungsight.server.answers import WARNINGS, DicomObject, Include, MediaType
from lungsight.server.problems import PROBLEM_JSON, TITLES, ProblemDetails
from lungsight.server.records import EXAMPLE, NOTICE, Models, Predictions

EVERYWHERE = (401, 421)
"""Problems that any operation behind the token may answer with."""
UPLOAD = (400, 403, 406, 408, 413, 415, 422, 500, 503)
"""And those of an upload."""
USED = {*EVERYWHERE, *UPLOAD}


def document(*, token: bool) -> dict[str, Any]:
    """OpenAPI 3.1.

    Args:
        token: whether requests must bring the server's token.
    """
    _, schemas = msgspec.json.schema_components(
        [Predictions, Models, ProblemDetails, Include, DicomObject],
        ref_template="#/components/schemas/{name}",
    )
    schemas = {name: _lists(schema) for name, schema in schemas.items()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Lungsight",
            "version": __version__,
            "summary": "Lung masks and an honest COVID-19 score for frontal chest X-rays.",
            "description": NOTICE,
            "contact": {"name": "The maintainers of Lungsight"},
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:8000", "description": "As `lungsight serve` starts it"}],
        "tags": [
            {"name": "prediction", "description": "X-rays in, masks and scores out"},
            {"name": "operation", "description": "For those who run the server"},
        ],
        "security": [{"bearer": []}] if token else [{"bearer": []}, {}],
        "paths": _paths(),
        "components": {
            "schemas": schemas,
            "responses": {
                f"Problem{status}": _problem(title) for status, title in TITLES.items() if status in USED
            },
            "parameters": {
                "RequestId": {
                    "name": "X-Request-ID",
                    "in": "header",
                    "description": "A UUID or other hexadecimal digits, which the answer and the log then carry.",
                    "schema": {"type": "string", "pattern": "^[0-9a-fA-F]{8}[0-9a-fA-F-]{0,56}$"},
                }
            },
            "headers": {
                "RequestId": {
                    "description": "Of the request, as in the log.",
                    "schema": {"type": "string"},
                },
                "Warnings": {
                    "description": "Codes of what speaks against the mask, with a comma between them.",
                    "schema": {"type": "string"},
                },
            },
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token that the server was started with, if it was started with one.",
                }
            },
        },
    }


def _lists(schema: Any) -> Any:
    """Lists of a fixed length in the words that validators and generators of clients know."""
    if isinstance(schema, list):
        return [_lists(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _lists(value) for key, value in schema.items() if key != "prefixItems"}
    if "prefixItems" in schema:
        made["items"] = _lists(schema["prefixItems"][0])
    return made


def _paths() -> dict[str, Any]:
    text = {"text/plain": {"schema": {"type": "string"}}}
    words = {
        "type": "object",
        "additionalProperties": {"type": "object", "additionalProperties": {}},
    }
    return {
        "/v1/predictions": {"post": _predictions()},
        "/v1/corrected": {"post": _corrected()},
        "/v1/models": {
            "get": _get(
                "models",
                "The networks, their cards, and the limits",
                "What answers: name, version, hash, figures and known limits of each network; thresholds.",
                {"application/json": {"schema": {"$ref": "#/components/schemas/Models"}}},
            )
        },
        "/v1/wording": {
            "get": _get(
                "wording",
                "The words of all codes",
                "English for every code that an answer may hold, by the kind of the code.",
                {"application/json": {"schema": words}},
                open_=True,
            )
        },
        "/v1/sample": {
            "get": _get(
                "sample",
                "A drawn chest X-ray to try",
                "PNG, 512 x 512; nobody's X-ray.",
                {"image/png": {"schema": _BINARY}},
            )
        },
        "/healthz": {
            "get": _get(
                "healthz", "Does it live", "Answers as long as it lives.", text, "operation", open_=True
            )
        },
        "/readyz": {
            "get": _get(
                "readyz",
                "Does it take X-rays",
                "503 while it starts or stops.",
                text,
                "operation",
                open_=True,
                more=(503,),
            )
        },
        "/metrics": {
            "get": _get(
                "metrics",
                "Metrics for Prometheus",
                "Requests, times, X-rays by outcome, batch sizes, queue, memory.",
                text,
                "operation",
            )
        },
    }


def _get(
    name: str,
    summary: str,
    description: str,
    content: dict[str, Any],
    tag: str = "prediction",
    *,
    open_: bool = False,
    more: tuple[int, ...] = (),
) -> dict[str, Any]:
    problems = (421, 422, *more) if open_ else (*EVERYWHERE, 422, *more)
    made: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "description": description,
        "tags": [tag],
        "parameters": [{"$ref": "#/components/parameters/RequestId"}],
        "responses": {"200": _answer("As described", content), **_problems(problems)},
    }
    if open_:
        made["security"] = []
    return made


def _predictions() -> dict[str, Any]:
    json = {"schema": {"$ref": "#/components/schemas/Predictions"}}
    answer = _answer(
        "In the order of the files",
        {
            MediaType.json.value: {**json, "example": plain(EXAMPLE)},
            MediaType.rle.value: json,
            MediaType.mask.value: {"schema": _BINARY},
            MediaType.overlay.value: {"schema": _BINARY},
            MediaType.dicom.value: {"schema": _BINARY},
        },
    )
    answer["headers"][WARNINGS] = {"$ref": "#/components/headers/Warnings"}
    return {
        "operationId": "predictions",
        "summary": "Lung masks, score and reasons to doubt it",
        "description": "Send PNG, JPEG, BMP, TIFF or DICOM files; names are ignored, the format is told by the "
        "content.\n\nJSON lists the files in order; one that cannot be used does not touch the others. Where none "
        "can be used the answer is a problem. The other forms (by Accept) are for one file.",
        "tags": ["prediction"],
        "parameters": [
            {"$ref": "#/components/parameters/RequestId"},
            {
                "name": "include",
                "in": "query",
                "description": "Parts of the JSON; may be repeated; default: mask.",
                "style": "form",
                "explode": True,
                "schema": {"type": "array", "items": {"$ref": "#/components/schemas/Include"}},
            },
            {
                "name": "mask_threshold",
                "in": "query",
                "description": "For masks and areas alone; the score rests on the network's own.",
                "schema": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            },
            {
                "name": "labels",
                "in": "query",
                "description": "Mask pictures with 1 for the right and 2 for the left lung.",
                "schema": {"type": "boolean", "default": False},
            },
            {
                "name": "dicom",
                "in": "query",
                "description": "Which object `application/dicom` is: segmentation of the lungs (seg) or of their zones "
                "(seg-zones), overlay as Secondary Capture (sc), or report of the lung areas (sr).",
                "schema": {"$ref": "#/components/schemas/DicomObject"},
            },
        ],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["files"],
                        "properties": {"files": {"type": "array", "minItems": 1, "items": dict(_BINARY)}},
                    }
                }
            },
        },
        "responses": {
            "200": answer,
            **_problems((*EVERYWHERE, *UPLOAD)),
        },
    }


def _corrected() -> dict[str, Any]:
    return {
        "operationId": "corrected",
        "summary": "A corrected mask as DICOM SEG",
        "description": "Send two files: the DICOM image, then its mask as an 8-bit PNG of its size, 0 outside, 1 in "
        "the patient's right and 2 in the left lung. The SEG says that a person changed the network's mask.",
        "tags": ["prediction"],
        "parameters": [{"$ref": "#/components/parameters/RequestId"}],
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FILES}}},
        "responses": {
            "200": _answer("The SEG", {MediaType.dicom.value: {"schema": _BINARY}}),
            **_problems((*EVERYWHERE, *UPLOAD)),
        },
    }


_BINARY = {"type": "string", "format": "binary"}
_FILES = {
    "type": "object",
    "required": ["files"],
    "properties": {"files": {"type": "array", "minItems": 2, "maxItems": 2, "items": dict(_BINARY)}},
}


def _answer(description: str, content: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": description,
        "headers": {"X-Request-ID": {"$ref": "#/components/headers/RequestId"}},
        "content": content,
    }


def _problem(title: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/ProblemDetails"}
    return _answer(title, {PROBLEM_JSON: {"schema": schema}})


def _problems(statuses: tuple[int, ...]) -> dict[str, Any]:
    return {str(status): {"$ref": f"#/components/responses/Problem{status}"} for status in sorted(statuses)}
