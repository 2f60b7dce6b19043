"""The application: the page, the API, and what operators look at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from importlib import resources
from typing import Annotated, Any

import cv2
import msgspec
import numpy as np
from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from lungsight import __version__
from lungsight.inference import Lungsight
from lungsight.records import plain, to_json
from lungsight.server import answers, docs_page, openapi
from lungsight.server.answers import DicomObject, Include, ResponseOptions, choose_media_type
from lungsight.server.correction import corrected
from lungsight.server.guard import Guard
from lungsight.server.predictions import State, predict
from lungsight.server.problems import TITLES, Busy, Problem
from lungsight.server.records import COLUMNS, NOTICE, ModelCard, Models, RequestLimits
from lungsight.server.settings import Settings
from lungsight.server.telemetry import TEXT
from lungsight.wording import page_words

PAPER_MASK_THRESHOLD = 0.2
"""At which the paper makes its masks binary."""


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
        state.start()
        yield
        await asyncio.to_thread(state.close)

    app = FastAPI(
        title="Lungsight",
        version=__version__,
        lifespan=lifespan,
        # The pages of these load scripts from another host, and the document is our own.
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(_known_query)],
    )
    app.state.lungsight = state
    app.add_middleware(Guard, settings=state.settings, telemetry=state.telemetry)
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_validation)
    document = openapi.document(token=state.settings.token is not None)
    app.openapi = lambda: document  # type: ignore[method-assign]
    _add_operations(app, state)
    _add_api(app, state)
    _add_pages(app, document)
    return app


def _known_query(request: Request) -> None:
    """A misspelt name must not be passed over: the answer would look like the one that was asked for."""
    route = request.scope["route"]
    known = [field.alias for field in route.dependant.query_params]
    if set(request.query_params) - set(known):
        names = f"Known here: {', '.join(known)}." if known else "None is known here."
        raise Problem(422, "unknown_query", "A name in the query is not known.", hint=names)


def _add_pages(app: FastAPI, document: dict[str, Any]) -> None:
    static = resources.files("lungsight.server") / "static"
    pages = {"/": (static / "index.html").read_text("utf-8"), "/docs": docs_page.page(document)}
    described = to_json(document, indent=0)

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi_json() -> Response:
        return Response(described, media_type="application/json")

    @app.get("/", include_in_schema=False)
    @app.get("/docs", include_in_schema=False)
    async def html(request: Request) -> Response:
        headers = {"Cache-Control": "no-cache"}
        return Response(
            pages[request.scope["route"].path], media_type="text/html; charset=utf-8", headers=headers
        )

    app.mount("/static", StaticFiles(directory=str(static)))


def _add_operations(app: FastAPI, state: State) -> None:
    @app.get("/healthz", response_class=PlainTextResponse)
    async def healthz() -> str:
        return "ok\n"

    @app.get("/readyz", response_class=PlainTextResponse)
    async def readyz() -> str:
        if not state.ready:
            raise Busy("not_ready", "The server is starting or stopping.", 2)
        return "ready\n"

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(state.telemetry.text(), headers={"Content-Type": TEXT})


def _add_api(app: FastAPI, state: State) -> None:
    models, words = to_json(_models(state), indent=0), msgspec.json.encode(page_words())

    @app.get("/v1/models")
    async def models_() -> Response:
        return Response(models, media_type="application/json")

    @app.get("/v1/wording")
    async def wording() -> Response:
        return Response(words, media_type="application/json")

    @app.get("/v1/sample")
    def sample() -> Response:
        return Response(_sample(), media_type="image/png")

    @app.post("/v1/predictions")
    async def predictions(
        request: Request,
        include: Annotated[list[Include] | None, Query()] = None,
        mask_threshold: Annotated[float | None, Query(gt=0, lt=1)] = None,
        labels: Annotated[bool, Query()] = False,
        dicom: Annotated[DicomObject, Query()] = DicomObject.seg,
    ) -> Response:
        options = ResponseOptions(
            choose_media_type(request.headers.get("accept", "")),
            frozenset(include or [Include.mask]),
            mask_threshold,
            labels,
            dicom,
            state.identity,
        )
        return await predict(state, request, options)

    @app.post("/v1/corrected")
    async def corrected_(request: Request) -> Response:
        return await corrected(state, request)


def _models(state: State) -> Models:
    model, settings = state.model, state.settings
    cards = [one.card for one in model.bundle.models]
    return Models(
        notice=NOTICE,
        version=__version__,
        models=[
            ModelCard(
                task=card.task,
                name=card.name,
                version=card.version,
                sha256=card.sha256,
                threshold=card.threshold,
                trained_on=[str(plain(one).get("name", "")) for one in card.trained_on],
                metrics=card.metrics,
                limits=list(card.limits),
                licence=card.licence,
                created=card.created,
            )
            for card in cards
        ],
        mask_threshold=model.mask_threshold,
        paper_mask_threshold=PAPER_MASK_THRESHOLD,
        threshold=answers.score_threshold(model),
        cannot_tell=answers.cannot_tell(model),
        worth=answers.worth(model),
        severity=answers.severity_worth(model),
        limits=RequestLimits(
            settings.max_files, settings.max_file_bytes, settings.max_request_bytes, settings.max_pixels
        ),
        columns=COLUMNS,
        sample="/v1/sample",
    )


def _warm_up(model: Lungsight) -> None:
    """Make the runtime's sessions, and find out whether the networks run, before the first request."""
    picture = cv2.imdecode(np.frombuffer(_sample(), np.uint8), cv2.IMREAD_GRAYSCALE)
    model(np.asarray(picture, np.uint8))


@cache
def _sample() -> bytes:
    from lungsight.phantom import draw

    drawn = draw(np.random.default_rng(22), hospital="north", covid=False, size=512)
    return bytes(cv2.imencode(".png", drawn.pixels)[1].tobytes())


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
    # Of pydantic's words its kind and the name alone: what was given may be repeated in them.
    wrong = [
        f"{'.'.join(map(str, one['loc'][1:2]))}: {one['type'].replace('_', ' ')}" for one in error.errors()
    ]
    return Problem(422, "wrong_query", "; ".join(wrong)).response()
