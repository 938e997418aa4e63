"""`diorama serve`: one model behind HTTP. Image in; JSON, PNG or NPZ out; with limits on bytes, pixels, seconds and places."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import python_multipart  # noqa: F401 (starlette asks for it only when the first form arrives)
from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import UploadFile
from starlette.types import Message

import diorama
from diorama.apps.answers import Picture, encoded
from diorama.apps.limits import ClosedError, FullError, Gate, Limits, TooLargeError, TooSlowError
from diorama.apps.negotiation import MEDIA, UPLOADS, Format, answers, request_body, suffix_of, wanted_format
from diorama.apps.work import SUFFIXES, Upload, predict_upload
from diorama.errors import UserError
from diorama.prediction.predictor import Predictor

log = logging.getLogger("diorama")

_STATUS: tuple[tuple[type[UserError], int], ...] = ((TooLargeError, 413), (FullError, 429), (TooSlowError, 503), (ClosedError, 503))
_RETRY = {"Retry-After": "5"}

Number = Annotated[float | None, Query(gt=0, allow_inf_nan=False)]
Angle = Annotated[float | None, Query(ge=1, le=179, allow_inf_nan=False, description="Over the longer side [degrees].")]
Scale = Annotated[float | None, Query(gt=0, allow_inf_nan=False, description="File units of sparse depth to the metre; default: 256.")]


def create_app(predictor: Predictor, limits: Limits | None = None) -> FastAPI:
    """The application around one model.

    Raises:
        ConfigError: the model sees no scenes.
    """
    predictor.require_scenes()
    limits = Limits() if limits is None else limits
    gate = Gate(limits)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        gate.close()

    app = FastAPI(
        title="diorama",
        version=str(diorama.__version__),
        description=f"Semantics and metric depth by {predictor.name}. At most {limits.megabytes:g} MiB and {limits.megapixels:g} "
        f"million pixels, an answer within {limits.seconds:g} s, {limits.queue} may wait.",
        lifespan=lifespan,
        # their pages load scripts from elsewhere
        docs_url=None,
        redoc_url=None,
    )
    app.state.gate = gate
    app.add_exception_handler(RequestValidationError, _unprocessable)
    app.add_exception_handler(UserError, _refused)
    _add_information(app, predictor, limits, gate)
    _add_prediction(app, predictor, limits, gate)
    return app


def _add_information(app: FastAPI, predictor: Predictor, limits: Limits, gate: Gate) -> None:
    @app.get("/", include_in_schema=False)
    async def start() -> dict[str, str]:
        return {"name": "diorama", "predict": "POST /predict", "model": "GET /model", "health": "GET /health", "interface": "/openapi.json"}

    @app.get("/health", responses={503: {"description": "About to stop."}})
    async def health(response: Response) -> dict[str, Any]:
        """Whether requests are let in, and how many are inside."""
        response.status_code = 503 if gate.closed else 200
        return {"status": "stopping" if gate.closed else "ok", "inside": gate.inside, "places": limits.places}

    @app.get("/model")
    async def model() -> dict[str, Any]:
        """The model, its classes by train id, and the limits."""
        labels = predictor.labels
        return {
            "model": predictor.described,
            "takes": list(predictor.inputs),
            "classes": [] if labels is None else list(labels.classes),
            "palette": [] if labels is None else [list(colour) for colour in labels.palette],
            "depth_cap_m": predictor.depth_cap,
            "limits": {"bytes": limits.bytes, "megapixels": limits.megapixels, "seconds": limits.seconds, "queue": limits.queue},
        }


def _add_prediction(app: FastAPI, predictor: Predictor, limits: Limits, gate: Gate) -> None:
    @app.post("/predict", response_class=Response, responses=answers(), openapi_extra=request_body(predictor.inputs))
    async def predict(
        request: Request,
        format: Annotated[Format | None, Query(description="Of the answer; goes before the `Accept` header.")] = None,  # noqa: A002
        picture: Annotated[Picture, Query(description="What a PNG shows; semantic: train ids, depth: metres * 256.")] = "overlay",
        maps: Annotated[bool, Query(description="Whether JSON also holds both maps as base64 PNG.")] = False,
        depth_scale: Scale = None,
        field_of_view: Angle = None,
        focal_px: Number = None,
        baseline: Number = None,
    ) -> Response:
        """Semantics and metric depth of one photo, of sparse depth, or of a stereo pair, as the model takes it.

        Send the file itself as the body, or several as a form.
        """
        chosen = format or wanted_format(request.headers.get("accept"))
        if chosen is None:
            raise HTTPException(406, f"Accept {', '.join(MEDIA.values())}, or pass ?format=json, png or npz.")
        gate.check()  # before anything is read
        with tempfile.TemporaryDirectory(prefix="diorama-") as folder:
            files = await _received(request, predictor.inputs[0], Path(folder), limits)
            upload = Upload(
                **files, depth_scale=depth_scale, field_of_view=field_of_view, focal_px=focal_px, baseline=baseline
            )  # fmt: skip
            future = gate.submit(lambda: encoded(predict_upload(predictor, upload, limits), chosen, picture, maps=maps))
            waiting = asyncio.wrap_future(future)
            try:
                body = await asyncio.wait_for(waiting, limits.seconds)
            except TimeoutError as error:
                raise gate.too_slow() from error
        return Response(body, media_type=MEDIA[chosen])


async def _received(request: Request, first: str, folder: Path, limits: Limits) -> dict[str, Path]:
    """Write what was sent below `folder`: key -> file. A body that is no form is what the network takes first.

    Raises:
        HTTPException: 408, 413, 415 or 422.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limits.bytes:
        raise _too_long(limits)
    limited = Request(request.scope, _counted(request.receive, limits))
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        async with asyncio.timeout(limits.seconds):
            if media == "multipart/form-data":
                return await _form(limited, folder)
            suffix = suffix_of(first, media)
            if suffix is None:
                raise HTTPException(415, f"'{media}' is not read as {first}. Send multipart/form-data or {_known(first)}.")
            body = await limited.body()
    except TimeoutError as error:
        raise HTTPException(408, f"the body did not arrive within {limits.seconds:g} s. Try again.") from error
    if not body:
        raise HTTPException(422, "the body is empty. Send the bytes of a file.")
    path = folder / f"upload{suffix}"
    path.write_bytes(body)
    return {first: path}


async def _form(request: Request, folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    async with request.form(max_files=len(SUFFIXES), max_fields=0) as form:
        for key, part in form.multi_items():
            if key not in SUFFIXES or not isinstance(part, UploadFile):
                raise HTTPException(422, f"'{key[:40]}' is no file of this form. Send {', '.join(SUFFIXES)}, each with a file name.")
            if key in found:
                raise HTTPException(422, f"'{key}' is there twice. Send it once.")
            suffix = suffix_of(key, part.content_type, part.filename)
            if suffix is None:
                raise HTTPException(415, f"'{(part.filename or '')[:80]}' is not read as {key}. Send {_known(key)}.")
            found[key] = folder / f"{key}{suffix}"
            found[key].write_bytes(await part.read())
    if not found:
        raise HTTPException(422, f"the form holds no file. Send {' or '.join(SUFFIXES)}.")
    return found


def _known(key: str) -> str:
    return ", ".join(media for media, suffix in UPLOADS.items() if suffix in SUFFIXES[key])


def _counted(receive: Callable[[], Awaitable[Message]], limits: Limits) -> Callable[[], Awaitable[Message]]:
    """`receive` that stops at too many bytes, whatever the header says."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limits.bytes:
            raise _too_long(limits)
        return message

    return counted


def _too_long(limits: Limits) -> HTTPException:
    return HTTPException(413, f"the body is longer than the {limits.megabytes:g} MiB allowed here. Send a smaller file.")


async def _refused(_: Request, error: Exception) -> JSONResponse:
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 422)
    return JSONResponse({"detail": " ".join(str(error).split())}, status, _RETRY if status in (429, 503) else None)


async def _unprocessable(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    said = [f"{fault['loc'][-1]}: {fault['msg']}" for fault in error.errors()]
    return JSONResponse({"detail": ". ".join(said)}, 422)
