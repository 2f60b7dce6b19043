"""The folder of results: whose it is, what it may hold, and that one run at a time writes there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from lungsight import __version__
from lungsight.errors import LungsightError, OutputError
from lungsight.files import write_bytes
from lungsight.inference import TABLE_VERSION, Lungsight, NetworkId
from lungsight.records import Record, from_json, to_json
from lungsight.wording import LungConvention, LungLabels

TABLE, RECORDS, SHEET, SETTINGS, LOCK = (
    "results.csv",
    "results.json",
    "contact.html",
    "run.json",
    ".lungsight.lock",
)
PARTS = "results.parquet"
"""Folder of the Parquet table."""
FOLDERS = ("masks", "overlays", "nifti", "darwin", "labelme", "seg", "sc", "sr", "transparent", PARTS)
FILES = (TABLE, RECORDS, SHEET, SETTINGS, "coco.json", "rle.jsonl")
FOREIGN = (
    *("metrics.json", "audit.json", "report.html", "provenance.json", "config.toml", "predictions.csv"),
    *("manifest.csv", "checkpoints", "charts"),
)
"""What other commands leave; results of two commands are never mixed."""

Mode = Literal["new", "resume", "overwrite"]


class RunSettings(Record, frozen=True, kw_only=True):
    """With what a folder of results was made, in `run.json`. Only what agrees in all of it may go on in the folder."""

    kind: Literal["predict"] = "predict"
    lungsight: str = __version__
    table: int = TABLE_VERSION
    networks: tuple[NetworkId, ...]
    cards: str
    """Hash over the networks' cards."""
    convention: LungConvention
    lung_labels: LungLabels = LungLabels.RIGHT1_LEFT2
    threshold: float | None
    mask_threshold: float
    labels: bool
    """Mask pictures hold labels instead of 255."""
    outputs: tuple[str, ...]
    """What is written beside the table."""

    @classmethod
    def of(cls, model: Lungsight, *, labels: bool, outputs: tuple[str, ...]) -> RunSettings:
        """Of a model and the wishes of a run."""
        return cls(
            networks=model.networks,
            cards=model.bundle.fingerprint(),
            convention=model.convention,
            threshold=model.threshold,
            mask_threshold=model.mask_threshold,
            labels=labels,
            outputs=outputs,
        )


def prepare(folder: Path, settings: RunSettings, mode: Mode) -> bool:
    """Make the folder ready, and note there with what it is filled.

    Args:
        folder: of the results; locked by the caller.
        settings: of this run.
        mode: 'new' wants a folder without results, 'resume' one of the same settings (or none), 'overwrite' throws
            away what an earlier `predict` left.

    Returns:
        Whether there are results to go on from.

    Raises:
        OutputError: it holds other results, or was made with other networks or settings.
    """
    foreign = [name for name in FOREIGN if (folder / name).exists()]
    own = [name for name in (*FILES, *FOLDERS) if (folder / name).exists()]
    ours = _earlier(folder / SETTINGS)
    if foreign or (own and ours is None):
        raise OutputError(
            "holds other results, which would be mixed with these"
            if SETTINGS not in own or foreign
            else "was made by another version or with other networks or settings, or is damaged",
            code="other_results",
            where=folder,
            hint="Choose another folder",
        )
    if own and mode == "new":
        raise OutputError(
            "holds results already",
            code="results_there",
            where=folder,
            hint="Go on with resume=True (--resume), begin again with overwrite=True (--overwrite), or choose another",
        )
    if own and mode == "resume" and ours != settings:
        raise OutputError(
            "was made with other networks or settings",
            code="other_settings",
            where=folder,
            hint="Resume with the same ones, begin again with overwrite=True (--overwrite), or choose another folder",
        )
    if own and mode == "overwrite":
        _clear(folder)
    _sweep(folder)
    write_bytes(folder / SETTINGS, to_json(settings) + b"\n")
    return bool(own) and mode == "resume"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make the folder and hold it for one run; a run that is killed lets go of it.

    Raises:
        OutputError: it cannot be made, is a file, or another run holds it.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(
            "is a file, not a folder", code="not_a_folder", where=folder, hint="Choose another name"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        reason = (error.strerror or "an error of the system").lower()
        raise OutputError(
            f"cannot be written: {reason}", where=folder, hint="Choose another folder"
        ) from error
    try:
        try:
            _hold(handle)
        except OSError as error:
            raise OutputError(
                "another run is writing there",
                code="locked",
                where=folder,
                hint="Wait for it, or choose another folder",
            ) from error
        yield
    finally:
        os.close(handle)


def _hold(handle: int) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _earlier(path: Path) -> RunSettings | None:
    try:
        return from_json(RunSettings, path.read_bytes(), error=OutputError)
    except (OSError, LungsightError):
        return None


def _clear(folder: Path) -> None:
    try:
        # The settings last: a folder that is half cleared is still known as ours.
        for name in FOLDERS:
            if (folder / name).is_dir() and not (folder / name).is_symlink():
                shutil.rmtree(folder / name)
        for path in [folder / name for name in FILES if name != SETTINGS]:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot be cleared: {(error.strerror or 'an error of the system').lower()}", where=folder
        ) from error


def _sweep(folder: Path) -> None:
    """Temporary files of a run that was killed."""
    stale = [path for name in FILES for path in folder.glob(f".{name}.*")]
    stale += [
        path for name in FOLDERS if (folder / name).is_dir() for path in (folder / name).glob("**/.*.*.*")
    ]
    for path in stale:
        if path.is_file():
            path.unlink(missing_ok=True)
