"""What an HTTP client sends and wants: content types of uploads, the `Accept` header, and what the interface says of both."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, Literal

from diorama.apps.work import SUFFIXES

Format = Literal["json", "png", "npz"]

MEDIA: dict[Format, str] = {"json": "application/json", "png": "image/png", "npz": "application/x-npz"}
"""Format of an answer -> its content type."""

UPLOADS = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "image/bmp": ".bmp",
    "image/tiff": ".tif",
    "image/x-portable-pixmap": ".ppm",
    "image/x-portable-graymap": ".pgm",
    "image/x-portable-floatmap": ".pfm",
    "application/x-npy": ".npy",
}
"""Content type of a body -> suffix of the file that it becomes."""

_GROUPS: dict[str, Format] = {"*/*": "json", "application/*": "json", "image/*": "png"}


def wanted_format(accept: str | None) -> Format | None:
    """The format that an `Accept` header asks for first; JSON without one, None if it asks for none of ours.

    Of types with the same quality the earlier one wins.
    """
    if not (accept or "").strip():
        return "json"
    ours: dict[str, Format] = {media: name for name, media in MEDIA.items()} | _GROUPS
    asked: list[tuple[float, Format]] = []
    for part in (accept or "").split(","):
        media, *parameters = (word.strip().lower() for word in part.split(";"))
        quality = next((_number(word[2:]) for word in parameters if word.startswith("q=")), 1.0)
        if media in ours and quality > 0:
            asked.append((quality, ours[media]))
    return max(asked, key=lambda item: item[0])[1] if asked else None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def suffix_of(key: str, content_type: str | None, filename: str | None = None) -> str | None:
    """The suffix of the file that an upload becomes: from its content type, else from its name; None if it cannot be `key`."""
    media = (content_type or "").partition(";")[0].strip().lower()
    suffix = UPLOADS.get(media) or PurePosixPath(filename or "").suffix.lower()
    return suffix if suffix in SUFFIXES[key] else None


def request_body(inputs: tuple[str, ...]) -> dict[str, Any]:
    """OpenAPI's request body of a model with these inputs."""
    binary = {"type": "string", "format": "binary"}
    about = {
        "image": "The photo: JPEG, PNG, WebP, BMP, TIFF or PPM.",
        "sparse_depth": "Points: 16-bit PNG (metres * 256, or `depth_scale`), TIFF, NPY or PFM; 0 = unknown.",
        "right": "The right view of a rectified pair whose left view is `image`, instead of `sparse_depth`.",
    }
    keys = ["image"] if "sparse_depth" not in inputs else ["image", "sparse_depth", "right"]
    form = {"type": "object", "properties": {key: {**binary, "description": about[key]} for key in keys}, "additionalProperties": False}
    if inputs == ("image",):
        form["required"] = ["image"]
    else:
        form["minProperties"] = 1
    alone = {media: {"schema": binary} for media, suffix in UPLOADS.items() if suffix in SUFFIXES[inputs[0]]}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}, **alone}}}


def _problem(description: str, example: str) -> dict[str, Any]:
    schema = {"type": "object", "required": ["detail"], "properties": {"detail": {"type": "string"}}}
    return {"description": description, "content": {"application/json": {"schema": schema, "example": {"detail": example}}}}


PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: _problem("The form cannot be read.", "Missing boundary in multipart."),
    406: _problem("None of the types in `Accept` can be made.", "Accept application/json, image/png or application/x-npz."),
    408: _problem("The body came too slowly.", "the body did not arrive within 60 s. Try again."),
    413: _problem(
        "Too many bytes or pixels.", "photo.jpg: 9000x6000 pixels, more than the 16 million allowed here. Make it smaller first."
    ),
    415: _problem("Not a kind of file that is read.", "'text/plain' is not read as image. Send image/jpeg or image/png."),
    422: _problem("Damaged, missing or contradictory input.", "upload.png: truncated or damaged. Copy or download the file again."),
    429: _problem("Every place is taken; see the header `Retry-After`.", "9 others are at work or waiting. Try again in a few seconds."),
    503: _problem("Not in time, or about to stop; see the header `Retry-After`.", "no answer within the 60 s allowed here."),
}
"""Status -> what the interface says of it."""

_SUMMARY = {
    "model": {"name": "ci_net-nyuv2", "method": "ci_net", "backend": "onnxruntime"},
    "size": {"height": 480, "width": 640},
    "semantic": {"label_set": "nyu40", "classes": ["wall", "floor"], "ignore": 255, "shares": {"wall": 0.41, "floor": 0.2}},
    "depth": {"unit": "m", "scale": 256, "rule": "metres = value / 256; 0 = no value", "median": 2.61, "range": [0.92, 6.4]},
}


def answers() -> dict[int | str, dict[str, Any]]:
    """OpenAPI's responses of a prediction."""
    binary = {"type": "string", "format": "binary"}
    json_schema = {"type": "object", "required": ["model", "size"], "properties": {"model": {"type": "object"}, "size": {"type": "object"}}}
    content = {
        MEDIA["json"]: {"schema": json_schema, "example": _SUMMARY},
        MEDIA["png"]: {"schema": binary},
        MEDIA["npz"]: {"schema": binary},
    }
    good = {"description": "What the model sees: a summary (JSON), a picture (PNG), or the arrays (NPZ).", "content": content}
    return {200: good, **PROBLEMS}
