"""The application: the page, the API, and what operators look at."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from importlib import resources
from typing import Annotated, Any

import cv2
import msgspec
import numpy as np
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from lungsight import __version__
from lungsight.files import write_bytes
from lungsight.inference import Lungsight, Result
from lungsight.records import plain, to_json
from lungsight.server import answers
from lungsight.server.answers import Form, Part, ResponseOptions
from lungsight.server.engine import Engine, Job
from lungsight.server.guard import Guard
from lungsight.server.problems import TITLES, Busy, Problem, problem_of
from lungsight.server.schemas import EXAMPLE, Models, Predictions, ProblemDetails
from lungsight.server.settings import Settings
from lungsight.server.telemetry import TEXT, Telemetry
from lungsight.server.uploads import Reservation, UploadBudget, gone, read_files

NOTICE = "Research use only, not for diagnosis."
PAPER_MASK_THRESHOLD = 0.2
"""At which the paper makes its masks binary."""


class State:
    """What the requests of one server share."""

    def __init__(self, model: Lungsight, settings: Settings) -> None:
        self.model, self.settings = model, settings
        self.telemetry, self.budget = Telemetry(), UploadBudget(settings.max_held_bytes)
        self.engine: Engine | None = None
        self.stop_at: float | None = None
        """When it must have ended (monotonic clock), once it was told to stop; it finishes what is open."""
        self.finished = False
        """It ended, and nothing was left undone."""
        self.telemetry.watch(lambda: self.engine.in_flight if self.engine else 0, lambda: self.budget.held)

    @property
    def ready(self) -> bool:
        """It takes X-rays."""
        return self.stop_at is None and self.engine is not None and self.engine.alive


def create_app(model: Lungsight, settings: Settings | None = None) -> FastAPI:
    """The ASGI application, for uvicorn or any other server.

    Args:
        model: of `load_model`.
        settings: limits, token, allowed names.
    """
    state = State(model, settings or Settings())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(_warm_up, model)
        engine = state.engine = Engine(
            model,
            limits=state.settings.limits,
            batch=state.settings.batch,
            capacity=state.settings.queue,
            listener=state.telemetry,
        )
        yield
        state.engine = None
        seconds = None if state.stop_at is None else max(0.1, state.stop_at - time.monotonic() - 0.5)
        state.finished = await asyncio.to_thread(engine.close, seconds)

    app = FastAPI(
        title="Lungsight",
        version=__version__,
        summary="Lung masks and an honest COVID-19 score for frontal chest X-rays.",
        description=NOTICE,
        license_info={"name": "Apache-2.0"},
        lifespan=lifespan,
        # The pages of these load scripts from another host.
        docs_url=None,
        redoc_url=None,
        responses={"default": _described("An error")},
    )
    app.state.lungsight = state
    app.add_middleware(Guard, settings=state.settings, telemetry=state.telemetry)
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_validation)
    _add_operations(app, state)
    _add_api(app, state)
    static = resources.files("lungsight.server") / "static"
    page = (static / "index.html").read_text("utf-8")

    @app.get("/", include_in_schema=False)
    def index() -> Response:
        return Response(page, media_type="text/html; charset=utf-8", headers={"Cache-Control": "no-cache"})

    app.mount("/static", StaticFiles(directory=str(static)))
    return app


def _add_operations(app: FastAPI, state: State) -> None:
    @app.get("/healthz", summary="Does it live", tags=["operation"], response_class=PlainTextResponse)
    async def healthz() -> str:
        return "ok\n"

    @app.get(
        "/readyz",
        summary="Does it take X-rays",
        tags=["operation"],
        response_class=PlainTextResponse,
        responses={503: _described("Starting or stopping")},
    )
    async def readyz() -> str:
        if not state.ready:
            raise Busy("not_ready", "The server is starting or stopping.", 2)
        return "ready\n"

    @app.get(
        "/metrics", summary="Metrics for Prometheus", tags=["operation"], response_class=PlainTextResponse
    )
    def metrics() -> Response:
        return Response(state.telemetry.text(), headers={"Content-Type": TEXT})


def _add_api(app: FastAPI, state: State) -> None:
    model, settings = state.model, state.settings

    @app.get("/v1/models", summary="The networks, their cards, and the limits", tags=["prediction"])
    def models() -> Models:
        diagnosis = model.bundle.diagnosis
        threshold = diagnosis.card.threshold if diagnosis and model.threshold is None else model.threshold
        return Models(
            notice=NOTICE,
            version=__version__,
            models=[_card(plain(one.card)) for one in model.bundle.models],
            mask_threshold=model.mask_threshold,
            paper_mask_threshold=PAPER_MASK_THRESHOLD,
            threshold=threshold,
            cannot_tell=answers.cannot_tell(model),
            limits={
                "files": settings.max_files,
                "file_bytes": settings.max_file_bytes,
                "request_bytes": settings.max_request_bytes,
                "pixels": settings.max_pixels,
            },
            sample="/v1/sample",
        )

    @app.get(
        "/v1/sample",
        summary="A drawn chest X-ray to try",
        tags=["prediction"],
        response_class=Response,
        responses={200: {"content": {"image/png": {}}, "description": "PNG, 512 x 512; nobody's X-ray"}},
    )
    def sample() -> Response:
        return Response(_sample(), media_type="image/png")

    @app.post(
        "/v1/predictions",
        summary="Lung masks, score and reasons to doubt it",
        tags=["prediction"],
        response_class=JSONResponse,
        openapi_extra=_UPLOAD,
        responses=_ANSWERS,
    )
    async def predictions(
        request: Request,
        include: Annotated[list[Part] | None, Query(description="Parts of the JSON; default: mask.")] = None,
        mask_threshold: Annotated[
            float | None,
            Query(gt=0, lt=1, description="For masks alone; the score rests on the network's own."),
        ] = None,
        labels: Annotated[
            bool, Query(description="Mask pictures with 1 for the left and 2 for the right lung.")
        ] = False,
    ) -> Response:
        """Send PNG, JPEG, BMP, TIFF or DICOM files; names are ignored, the format is told by the content.

        JSON answers list the files in order; one that cannot be used does not touch the others. Where none can be
        used the answer is a problem with status 422. The other forms (by Accept) are for one file.
        """
        form = answers.choose_form(request.headers.get("accept", ""))
        wish = ResponseOptions(form, frozenset(include or [Part.mask]), mask_threshold, labels)
        reservation = state.budget.reserve()
        try:
            files = await read_files(request, settings, reservation)
            if len(files) > 1 and form not in (Form.json, Form.rle):
                raise Problem(406, "one_file", f"{form} is for one file; several are answered in JSON.")
            return _respond(await _predict(state, request, files, wish, reservation), form, reservation)
        except BaseException:
            reservation.release()
            raise


async def _predict(
    state: State, request: Request, files: list[bytearray], wish: ResponseOptions, reservation: Reservation
) -> list[bytes | Problem]:
    """Encoded answers and problems, in the order of the files; given up where the client goes away."""
    engine = state.engine
    if engine is None:
        raise Busy("not_ready", "The server is starting or stopping.", 2)

    def job(data: bytearray) -> Job:
        size = len(data)

        def finish(result: Result) -> bytes:
            made = answers.answer(state.model, result, data, wish)
            encoded = made if isinstance(made, bytes) else to_json(made, indent=0)
            reservation.take(len(encoded))
            state.telemetry.xray(result.decision, size)
            if state.settings.keep is not None:
                _keep(state, data, encoded, result, wish.form)
            return encoded

        return Job(data, finish)

    jobs = [job(data) for data in files]
    futures = engine.submit(jobs)
    sizes = [len(data) for data in files]
    files.clear()
    waiting: asyncio.Future[Any] = asyncio.gather(*map(asyncio.wrap_future, futures), return_exceptions=True)
    leaving: asyncio.Future[Any] = asyncio.ensure_future(gone(request.receive))
    try:
        await asyncio.wait(
            [waiting, leaving],
            timeout=state.settings.answer_seconds,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if leaving.done():
            raise ClientDisconnect
        if not waiting.done():
            raise Busy("slow_answer", "The answer took too long. Try again, with fewer files at once.", 10)
        found = waiting.result()
    finally:
        leaving.cancel()
        waiting.cancel()
        for one in jobs:
            one.give_up()
    made: list[bytes | Problem] = []
    for size, answered in zip(sizes, found, strict=True):
        if isinstance(answered, BaseException):
            state.telemetry.xray("failed", size)
        made.append(problem_of(answered) if isinstance(answered, BaseException) else answered)
    return made


def _respond(made: list[bytes | Problem], form: Form, reservation: Reservation) -> Response:
    problems = [one for one in made if isinstance(one, Problem)]
    if len(made) == 1 and problems:
        raise problems[0]
    if len(problems) == len(made):
        raise Problem(
            max(one.status for one in problems),
            "no_usable_file",
            "None of the files can be used.",
            errors=tuple(one.details for one in problems),
        )
    if form not in (Form.json, Form.rle):
        (content,) = made
        assert isinstance(content, bytes)
        return Counted(content, reservation, media_type=form)
    rows = [
        {"index": index, "status": "failed", "error": one.details}
        if isinstance(one, Problem)
        else msgspec.Raw(b'{"index":%d,' % index + one[1:])
        for index, one in enumerate(made)
    ]
    content = to_json({"notice": NOTICE, "predictions": rows}, indent=0)
    return Counted(content, reservation, media_type=form)


class Counted(Response):
    """An answer whose memory is given back when it was sent, or could not be."""

    def __init__(self, content: bytes, reservation: Reservation, **more: Any) -> None:
        super().__init__(content, **more)
        self.reservation = reservation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.reservation.release()


def _keep(state: State, data: bytearray, encoded: bytes, result: Result, form: Form) -> None:
    """Upload and answer, for nobody but the server's own user."""
    assert state.settings.keep is not None
    state.settings.keep.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = state.settings.keep / secrets.token_hex(8)
    folder.mkdir(mode=0o700)
    name = "result.json" if form in (Form.json, Form.rle) else "answer"
    for path, content in ((folder / f"upload.{result.xray.format.lower()}", data), (folder / name, encoded)):
        write_bytes(path, bytes(content))
        path.chmod(0o600)


def _warm_up(model: Lungsight) -> None:
    """Make the runtime's sessions, and find out whether the networks run, before the first request."""
    picture = cv2.imdecode(np.frombuffer(_sample(), np.uint8), cv2.IMREAD_GRAYSCALE)
    model(np.asarray(picture, np.uint8))


@cache
def _sample() -> bytes:
    from lungsight.phantom import draw

    drawn = draw(np.random.default_rng(20), hospital="north", covid=False, size=512)
    return bytes(cv2.imencode(".png", drawn.pixels)[1].tobytes())


def _card(card: dict[str, Any]) -> dict[str, Any]:
    shown = ("name", "version", "task", "sha256", "threshold", "input", "trained_on", "metrics", "limits")
    return {key: card[key] for key in (*shown, "licence", "created")}


async def _on_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response()


async def _on_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = TITLES.get(error.status_code, "An error") + "."
    code = {404: "not_found", 405: "wrong_method"}.get(error.status_code, "http")
    return Problem(error.status_code, code, message, headers=dict(error.headers or {})).response()


async def _on_validation(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    wrong = [f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors()]
    return Problem(422, "wrong_query", "; ".join(wrong)).response()


def _described(words: str) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": ProblemDetails.model_json_schema()}}
    return {"description": words, "content": content}


_UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "format": "binary"},
                        }
                    },
                }
            }
        },
    }
}

_BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": Predictions,
        "description": "In the order of the files",
        "content": {
            "application/json": {"example": EXAMPLE},
            Form.rle.value: {"schema": {"$ref": "#/components/schemas/Predictions"}},
            Form.mask.value: _BINARY,
            Form.overlay.value: _BINARY,
            Form.dicom.value: _BINARY,
        },
    },
    **{status: _described(TITLES[status]) for status in (400, 406, 408, 413, 415, 422, 503)},
}
