"""The server's interface as an OpenAPI document, for the model that is served."""

from typing import Any

from examples.serving.limits import Limits

__all__ = ["description"]

Schema = dict[str, Any]
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
TEXT: Schema = {"type": "string"}


def description(shape: tuple[int, ...], n_classes: int, limits: Limits) -> Schema:
    """An OpenAPI 3.1 document.

    Args:
        shape: of one image.
        n_classes: of the model.
        limits: of clients.
    """
    pixels: Schema = {"type": "number", "minimum": 0, "maximum": 1}
    for size in reversed(shape):
        pixels = _list(pixels, size, size)
    asked = _object(images=_list(pixels, 1, limits.images))
    evidence = _list(NUMBER, n_classes, n_classes)
    told = _object(classes=_list(COUNT), evidence=_list(evidence))
    model = {"type": "object", "required": ["classes", "shape", "n_steps"]}
    health = _object(status=TEXT, replica=TEXT, pid=COUNT, sessions=COUNT)
    predict = {
        "summary": "Classes of images, and the evidence for each class.",
        "requestBody": {"required": True, "content": _json(asked)},
        "responses": {
            "200": _answer("The classes of the images, in order.", told),
            **_refusals(400, 408, 413, 415, 422),
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "A spiking classifier", "version": "1"},
        "paths": {
            "/predict": {"post": predict},
            "/model": _get("What is served.", model),
            "/healthz": _get("Which replica answers.", health),
        },
    }


def _get(summary: str, schema: Schema) -> Schema:
    responses = {"200": _answer(summary, schema), **_refusals()}
    return {"get": {"summary": summary, "responses": responses}}


def _refusals(*statuses: int) -> Schema:
    """Of all requests: 403 for another site's page, 503 where too many ask."""
    refused = _answer("Refused, with a reason.", _object(error=TEXT))
    full = {"description": "Too many requests. Try again later."}
    return {**{str(status): refused for status in (403, *statuses)}, "503": full}


def _answer(text: str, schema: Schema) -> Schema:
    return {"description": text, "content": _json(schema)}


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _list(items: Schema, least: int = 0, most: int | None = None) -> Schema:
    bounds = {} if most is None else {"maxItems": most}
    return {"type": "array", "items": items, "minItems": least, **bounds}


def _object(**properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": sorted(properties),
        "additionalProperties": False,
    }
