"""The DICOM results of one prediction: SEG, Secondary Capture and structured report, as they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lungsight.errors import ConfigError
from lungsight.files import write_bytes
from lungsight.inference.lung_masks import LEFT, RIGHT
from lungsight.inference.result import Result
from lungsight.preprocess import resize_image
from lungsight.writers.dicom_sc import encode_dicom_sc
from lungsight.writers.dicom_seg import encode_dicom_seg
from lungsight.writers.dicom_source import Identity
from lungsight.writers.dicom_sr import encode_dicom_sr
from lungsight.writers.images import overlay

KINDS = ("seg", "seg-zones", "sc", "sr")
PICTURE_SIDE = 2048
"""A larger X-ray gets a smaller overlay: it is there to be looked at."""


def encode_results(
    source: str | Path | bytes,
    result: Result,
    kinds: Sequence[str],
    identity: Identity | None = None,
    *,
    include_score: bool = False,
) -> list[tuple[str, bytes]]:
    """(SOPInstanceUID, bytes) of each kind of result, in the order of `kinds`.

    Args:
        source: the X-ray, a DICOM file or its bytes.
        result: what was found in it.
        kinds: of `KINDS`.
        identity: how patient and objects are named; the same one for all X-rays of a run.
        include_score: the report says the research score too.

    Raises:
        ConfigError: another kind.
        InputError: the source is no DICOM image, or lacks what a result must repeat.
        MissingExtraError: highdicom is not installed.
    """
    identity = identity or Identity()
    spacing, kind_of_spacing = result.xray.spacing, result.xray.spacing_kind
    algorithm = next(
        (f"{one.name} {one.version}" for one in result.networks if one.task == "lungs"), "Lungsight"
    )
    warnings = (*result.reasons, *result.flags)
    found = []
    for kind in kinds:
        if kind == "seg":
            data = encode_dicom_seg(
                source,
                result.labels,
                algorithm=algorithm,
                identity=identity,
                spacing=spacing,
                warnings=warnings,
            )
        elif kind == "seg-zones":
            data = encode_dicom_seg(
                source,
                result.zones,
                algorithm=algorithm,
                identity=identity,
                spacing=spacing,
                zones=True,
                warnings=warnings,
            )
        elif kind == "sc":
            step = -(-max(result.xray.shape) // PICTURE_SIDE)
            height, width = (-(-side // step) for side in result.xray.shape)
            labels = result.labels[::step, ::step]
            picture = overlay(resize_image(result.xray.pixels, (height, width)), labels)
            larger = (spacing[0] * step, spacing[1] * step) if spacing else None
            data = encode_dicom_sc(source, picture, identity=identity, spacing=larger)
        elif kind == "sr":
            right, left = result.areas
            data = encode_dicom_sr(
                source,
                {RIGHT: right, LEFT: left},
                spacing=spacing,
                spacing_kind=kind_of_spacing,
                score=result.probability if include_score else None,
                algorithm=algorithm,
                identity=identity,
            )
        else:
            raise ConfigError(f"a DICOM result is one of {', '.join(KINDS)}")
        found.append((_sop_uid(data), data))
    return found


def write_results(
    folder: str | Path,
    source: str | Path,
    result: Result,
    kinds: Sequence[str],
    identity: Identity | None = None,
    *,
    include_score: bool = False,
    stem: str = "",
) -> list[Path]:
    """Write `encode_results` as `STEM.KIND.dcm` into a folder; raises what that raises, and OutputError."""
    written = []
    encoded = encode_results(source, result, kinds, identity, include_score=include_score)
    for kind, (_, data) in zip(kinds, encoded, strict=True):
        path = Path(folder) / f"{stem or Path(source).stem}.{kind}.dcm"
        write_bytes(path, data)
        written.append(path)
    return written


def _sop_uid(data: bytes) -> str:
    import io

    from pydicom import dcmread

    return str(
        dcmread(io.BytesIO(data), stop_before_pixels=True, specific_tags=["SOPInstanceUID"]).SOPInstanceUID
    )
