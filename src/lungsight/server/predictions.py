"""One request for predictions: files in, an answer out, whatever became of each file."""

from __future__ import annotations

import asyncio
import secrets
import time
from concurrent.futures import CancelledError
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from lungsight import __version__
from lungsight.files import write_bytes
from lungsight.inference import Lungsight, Result
from lungsight.records import to_json
from lungsight.server import answers
from lungsight.server.answers import MediaType, Payload, ResponseOptions
from lungsight.server.engine import Engine, Job
from lungsight.server.problems import Busy, Problem, problem_of
from lungsight.server.records import NOTICE
from lungsight.server.settings import Settings
from lungsight.server.telemetry import Telemetry
from lungsight.server.uploads import Reservation, UploadBudget, gone, read_files
from lungsight.writers.dicom_source import Identity


class State:
    """What the requests of one server share."""

    def __init__(self, model: Lungsight, settings: Settings) -> None:
        self.model, self.settings = model, settings
        self.identity = Identity(anonymous=not settings.identified)
        self.telemetry, self.budget = Telemetry(), UploadBudget(settings.max_held_bytes)
        self.engine: Engine | None = None
        self.stop_at: float | None = None
        """When it must have ended (monotonic clock), once it was told to stop; it finishes what is open."""
        self.closed = self.finished = False
        """`finished`: it ended, and nothing was left undone."""
        self.telemetry.watch(lambda: self.engine.in_flight if self.engine else 0, lambda: self.budget.held)

    @property
    def ready(self) -> bool:
        """It takes X-rays."""
        return self.stop_at is None and self.engine is not None and self.engine.alive

    def start(self) -> None:
        """Start the engine."""
        settings = self.settings
        self.engine = Engine(
            self.model,
            limits=settings.limits,
            batch=settings.batch,
            capacity=settings.queue,
            listener=self.telemetry,
        )

    def close(self) -> None:
        """End the engine, within the time that is left; a second call does nothing."""
        if self.closed:
            return
        self.closed = True
        engine, self.engine = self.engine, None
        seconds = None if self.stop_at is None else max(0.1, self.stop_at - time.monotonic() - 0.5)
        self.finished = engine is None or engine.close(seconds)


async def predict(state: State, request: Request, options: ResponseOptions) -> Response:
    """The answer to a request.

    Raises:
        Problem: the upload cannot be used, or none of its files can.
        ClientDisconnect: the client went away; what waits of its files is dropped.
    """
    reservation = state.budget.reserve()
    try:
        files = await read_files(request, state.settings, reservation)
        if len(files) > 1 and not options.media_type.for_many:
            raise Problem(
                406, "one_file", f"{options.media_type} is for one file; several are answered in JSON."
            )
        made = await _work(state, request, files, options, reservation)
        return _respond(made, options.media_type, reservation)
    except BaseException:
        reservation.release()
        raise


async def _work(
    state: State,
    request: Request,
    files: list[bytearray],
    options: ResponseOptions,
    reservation: Reservation,
) -> list[Payload | Problem]:
    """Payloads and problems, in the order of the files."""
    engine = state.engine
    if engine is None:
        raise Busy("not_ready", "The server is starting or stopping.", 2)
    sizes = [len(data) for data in files]
    jobs = [_job(state, data, index, options, reservation) for index, data in enumerate(files)]
    files.clear()
    futures = engine.submit(jobs)
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
        for job in jobs:
            job.give_up()
    made: list[Payload | Problem] = []
    for size, one in zip(sizes, found, strict=True):
        if isinstance(one, BaseException):
            state.telemetry.xray("failed", size)
        made.append(problem_of(one) if isinstance(one, BaseException) else one)
    return made


def _job(
    state: State, data: bytearray, index: int, options: ResponseOptions, reservation: Reservation
) -> Job:
    size = len(data)

    def finish(result: Result) -> Payload:
        if job.given_up:
            raise CancelledError
        made = answers.payload(state.model, result, data, index, options)
        reservation.take(len(made.content))
        state.telemetry.xray(result.decision, size)
        if state.settings.keep is not None:
            _keep(state, data, made.content, result, options.media_type)
        return made

    job = Job(data, finish)
    return job


def _respond(made: list[Payload | Problem], media_type: MediaType, reservation: Reservation) -> Response:
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
    if not media_type.for_many:
        (one,) = made
        assert isinstance(one, Payload)
        headers = {answers.WARNINGS: ", ".join(one.warnings)}
        return Counted(one.content, reservation, media_type=media_type, headers=headers)
    rows = [
        msgspec.Raw((answers.failure(index, one) if isinstance(one, Problem) else one).content)
        for index, one in enumerate(made)
    ]
    content = to_json({"notice": NOTICE, "version": __version__, "predictions": rows}, indent=0)
    return Counted(content, reservation, media_type=media_type)


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


def _keep(state: State, data: bytearray, content: bytes, result: Result, media_type: MediaType) -> None:
    """Upload and answer, for nobody but the user who runs the server."""
    assert state.settings.keep is not None
    state.settings.keep.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = state.settings.keep / secrets.token_hex(8)
    folder.mkdir(mode=0o700)
    name = "result.json" if media_type.for_many else "answer"
    for path, written in (
        (folder / f"upload.{result.xray.format.lower()}", bytes(data)),
        (folder / name, content),
    ):
        write_bytes(path, written)
        path.chmod(0o600)
