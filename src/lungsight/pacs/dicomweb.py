"""DICOMweb: X-rays found by QIDO-RS and fetched by WADO-RS, results stored by STOW-RS, through `dicomweb-client`.

What a server sends of an X-ray stays bytes, and is read in a decoding process.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lungsight.errors import ConfigError, InputError, LungsightError, OutputError, RefusedError, require
from lungsight.files import write_bytes
from lungsight.progress import ProgressCallback
from lungsight.xray.dicom_kind import MODALITIES, RADIOGRAPHS, valid_uid

ATTEMPTS = 4
"""For an answer that says 'try again' (408, 429, 5xx), with a wait that doubles."""
PAGE, MOST_ROWS = 200, 100_000
"""Rows that are asked for at a time, and in all."""

BytesMaker = Callable[[bytes], Sequence[tuple[str, bytes]]]
"""From the bytes of an X-ray to its results: their SOP instance UIDs and bytes. Raises LungsightError."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One object of a server."""

    study: str
    series: str
    instance: str


@dataclass(slots=True)
class Exchange:
    """What became of the X-rays of one run."""

    found: int = 0
    predicted: int = 0
    refused: int = 0
    stored: int = 0
    failures: list[tuple[Reference, LungsightError]] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """X-rays without a result that should have one."""
        return len(self.failures)


class DicomWeb:
    """A DICOMweb server.

    Args:
        url: its root, such as `https://pacs.example/dicom-web`.
        token: sent as 'Authorization: Bearer TOKEN'.
        user: (name, password) for HTTP Basic, in place of a token.
        seconds: longest silence of the server.
        max_bytes: of one file.

    Raises:
        ConfigError: no address of HTTP.
        MissingExtraError: dicomweb-client is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        user: tuple[str, str] | None = None,
        seconds: float = 60.0,
        max_bytes: int = 256 * 2**20,
    ) -> None:
        api = require("dicomweb_client.api", feature="DICOMweb", extra="dicom")
        if not url.lower().startswith(("http://", "https://")):
            raise ConfigError("a DICOMweb server is given as http://... or https://...", where="URL")
        self._session: Any = require("requests", feature="DICOMweb", extra="dicom").Session()
        self._session.auth = user
        headers = {"Authorization": f"Bearer {token}"} if token else None
        self.url, self._timeout, self._max_bytes = url.rstrip("/"), (10.0, seconds), max_bytes
        try:
            self._client: Any = api.DICOMwebClient(
                self.url, session=self._session, headers=headers, timeout=self._timeout
            )
        except ValueError as error:
            raise ConfigError("this is no address of a DICOMweb server", where="URL") from error
        self._client.set_http_retry_params(True, ATTEMPTS, 250)

    def find(
        self, studies: Sequence[str] = (), *, series: Sequence[str] = (), date: str = ""
    ) -> list[Reference]:
        """The objects that may be chest X-rays, in the server's order (QIDO-RS).

        Args:
            studies: StudyInstanceUIDs.
            series: SeriesInstanceUIDs; all of the studies where empty.
            date: StudyDate, `YYYYMMDD` or `YYYYMMDD-YYYYMMDD`, in place of `studies`.

        Raises:
            ConfigError: neither studies nor a date are given, or one of them is malformed.
            InputError: the server cannot be reached or refuses.
        """
        if not studies and not date:
            raise ConfigError("say which X-rays: a study, or a date", where="studies")
        if any(not valid_uid(uid) for uid in (*studies, *series)):
            raise ConfigError("a UID has digits and dots alone, at most 64", where="studies")
        if date and not all(part.isdigit() and len(part) == 8 for part in date.split("-", 1)):
            raise ConfigError("a date is YYYYMMDD, or two of them with '-' between", where="date")
        with _told():
            chosen = list(studies)
            if not chosen:
                dates = {"StudyDate": date}
                chosen = list(_all(self._client.search_for_studies, "0020000D", search_filters=dates))
            found = []
            for study in chosen:
                for uid, row in _all(self._client.search_for_series, "0020000E", study).items():
                    modality = _value(row, "00080060", uid=False)
                    if (not series or uid in series) and modality.upper() in MODALITIES | {""}:
                        found += self._instances(study, uid)
        return found

    def _instances(self, study: str, series: str) -> list[Reference]:
        found = []
        for uid, row in _all(self._client.search_for_instances, "00080018", study, series).items():
            sop_class = _value(row, "00080016")
            if not sop_class or sop_class in RADIOGRAPHS:
                found.append(Reference(study, series, uid))
        return found

    def fetch(self, one: Reference) -> bytes:
        """The file of an object, as the server keeps it where it can send that (WADO-RS).

        Raises:
            InputError: the server cannot be reached, refuses, or sends something else.
        """
        url = f"{self.url}/studies/{one.study}/series/{one.series}/instances/{one.instance}"
        # Not by the client's own way, which parses the file in this process, whatever is in it.
        headers = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
        with (
            _told(),
            self._session.get(url, headers=headers, timeout=self._timeout, stream=True) as answer,
        ):
            answer.raise_for_status()
            data = bytearray()
            for chunk in answer.iter_content(2**20):
                data += chunk
                if len(data) > self._max_bytes:
                    raise InputError("the DICOMweb server sent more than an X-ray needs", code="too_large")
            return _only_part(answer.headers.get("Content-Type", ""), bytes(data))

    def store(self, objects: Sequence[bytes]) -> None:
        """Store results (STOW-RS). To store one again changes nothing: it has the same UID.

        Raises:
            OutputError: the server did not take all of them.
            InputError: it cannot be reached or refuses.
        """
        from pydicom import dcmread

        with _told():
            answer = self._client.store_instances([dcmread(io.BytesIO(one)) for one in objects])
        if len(answer.get("FailedSOPSequence") or ()) or len(answer.get("ReferencedSOPSequence") or ()) < len(
            objects
        ):
            raise OutputError("the DICOMweb server did not take a result", code="not_stored")


def exchange(
    server: DicomWeb,
    references: Sequence[Reference],
    make: BytesMaker,
    *,
    out: Path | None = None,
    store: bool = True,
    progress: ProgressCallback | None = None,
) -> Exchange:
    """Fetch X-rays, predict, and store their results where they came from. One that fails costs none of the others.

    Args:
        server: to fetch from and to store to.
        references: of `DicomWeb.find`.
        make: from an X-ray to its results; see `bytes_maker`.
        out: folder for the results too, named by their SOPInstanceUID; None for none.
        store: send them to the server.
        progress: told how far it is.

    Raises:
        OutputError: a result cannot be written into `out`.
    """
    done = Exchange(len(references))
    for number, one in enumerate(references):
        if progress:
            progress(number, len(references), "predicting")
        try:
            results = make(server.fetch(one))
            done.predicted += 1
            for uid, data in results if out is not None else ():
                write_bytes(Path(out or "") / f"{uid}.dcm", data)
            if store and results:
                server.store([data for _, data in results])
                done.stored += len(results)
        except RefusedError:
            done.refused += 1
        except InputError as error:
            done.failures.append((one, error))
        except OutputError as error:
            if error.code != "not_stored":
                raise
            done.failures.append((one, error))
    if progress:
        progress(len(references), len(references), "predicting")
    return done


def bytes_maker(
    model: Any, kinds: Sequence[str], identity: Any, *, include_score: bool = False
) -> BytesMaker:
    """Results by the networks: of each X-ray the kinds 'seg', 'sc' and 'sr' that are asked for.

    Raises (when called):
        RefusedError: no frontal chest X-ray.
        InputError: it cannot be read.
    """
    from lungsight.writers.dicom_results import encode_results

    def make(data: bytes) -> list[tuple[str, bytes]]:
        result = model(data, name="the X-ray")
        if not result.gate.frontal:
            raise RefusedError("not a frontal chest X-ray")
        return encode_results(data, result, kinds, identity, include_score=include_score)

    return make


def _all(search: Callable[..., Any], tag: str, *where: str, **more: Any) -> dict[str, Any]:
    """UID -> row, page by page; the client's own way goes on without end where a server repeats itself."""
    found: dict[str, Any] = {}
    count = 0
    while count < MOST_ROWS:
        rows = search(*where, limit=PAGE, offset=count, **more)
        new = {uid: row for row in rows if (uid := _value(row, tag)) and uid not in found}
        found |= new
        count += len(rows)
        if len(rows) < PAGE or not new:
            break
    return found


def _only_part(content_type: str, body: bytes) -> bytes:
    """The content of a multipart/related body of one part (RFC 2046, 5.1.1), or of a body that is the file itself.

    Raises:
        ValueError: it is neither.
    """
    kind, _, parameters = content_type.partition(";")
    if kind.strip().lower() == "application/dicom":
        return body
    boundary = next(
        (
            value.strip().strip('"')
            for name, _, value in (one.partition("=") for one in parameters.split(";"))
            if name.strip().lower() == "boundary"
        ),
        "",
    )
    mark = b"--" + boundary.encode("latin-1")
    start, end = body.find(mark), body.rfind(b"\r\n" + mark + b"--")
    head = body.find(b"\r\n\r\n", start)
    if kind.strip().lower() != "multipart/related" or not boundary or start < 0 or not start < head <= end:
        raise ValueError("no multipart/related")
    content = body[head + 4 : end]
    if b"\r\n" + mark + b"\r\n" in content:
        raise ValueError("several parts")
    return content


def _value(row: dict[str, Any], tag: str, *, uid: bool = True) -> str:
    """The first value of an element of DICOM JSON; '' where it is absent or, for a UID, is none."""
    try:
        text = str(row[tag]["Value"][0])
    except (KeyError, IndexError, TypeError):
        return ""
    return valid_uid(text) if uid else text


@contextmanager
def _told() -> Iterator[None]:
    """What can go wrong between client and server, in our words: none of the server's."""
    from requests import HTTPError, RequestException

    try:
        yield
    except HTTPError as error:
        status = getattr(error.response, "status_code", 0)
        hint = {401: "Give a token or a user", 403: "Give a token or a user", 404: "Is the address its root?"}
        raise InputError(
            f"the DICOMweb server answered with status {int(status)}",
            code="dicomweb_status",
            hint=hint.get(status),
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            "the server's answer is not DICOMweb", code="no_dicomweb", detail=type(error).__name__
        ) from None
    except RequestException as error:
        raise InputError(
            "the DICOMweb server cannot be reached, or broke off",
            code="unreachable",
            detail=type(error).__name__,
        ) from None
