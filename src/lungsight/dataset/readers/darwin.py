"""Darwin exports of V7: JSON 1.0, as the 2020 data set was published, and 2.x, which `darwin-py` writes.

On disk, `darwin-py` leaves `DATASET/images/...` and `DATASET/releases/RELEASE/annotations/*.json`, with a
link `releases/latest`. Formats: https://docs.v7labs.com/reference/darwin-json and .../legacy-darwin-json-10.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsight.dataset.finding import is_covid
from lungsight.dataset.masks import IGNORE, LUNG, MAX_PIXELS, Ring, Shape, rasterise
from lungsight.dataset.table import Dataset, Excluded, Row, is_image_file
from lungsight.errors import DataError
from lungsight.wording import Exclusion, View
from lungsight.xray.views import SLICES, view_code

MAX_BYTES = 64 * 2**20
_MAX_COORDINATE = 32_000
"""OpenCV draws with 16 bits before the point."""
_LUNG_CLASSES = frozenset({"lung", "lungs", "left lung", "right lung", "lung left", "lung right"})
_NO_FINDING = frozenset({"x-ray", "xray", "ct"})
_KERMANY = re.compile(r"^(person\d+)_(virus|bacteria)_\d+|^((?:NORMAL2-)?IM-\d+)-\d+", re.IGNORECASE)
_KERMANY_FINDINGS = {"virus": "viral pneumonia", "bacteria": "bacterial pneumonia", None: "normal"}


@dataclass(frozen=True, slots=True)
class Annotation:
    """What one annotation file says, whichever version it has."""

    path: Path
    version: int
    names: tuple[str, ...]
    """Under which names the image may lie, best first; the last is the name it was uploaded with."""
    folder: str
    size: tuple[int, int] | None
    """(H, W), None where the file does not say."""
    shapes: tuple[Shape, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DarwinMask:
    """The outlines of one annotation file on an image of `size` (H, W).

    They are read again for each mask: those of a whole data set would fill hundreds of megabytes.
    """

    path: Path
    size: tuple[int, int]

    def semantic(self) -> NDArray[np.uint8]:
        """(H, W) with 0 background, 127 ignore, 255 lung; raises DataError."""
        return rasterise(read_annotation(self.path).shapes, self.size)

    def load(self) -> NDArray[np.bool_]:
        """(H, W) bool: lung, less the ignored parts; raises DataError."""
        return np.asarray(self.semantic() == LUNG)

    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.size


def annotation_folder(path: Path) -> Path | None:
    """The folder with the JSON files of a data set, of a release, or `path` itself; None where there is none.

    Raises:
        DataError: there are several releases and none is called 'latest'.
    """
    if (path / "releases").is_dir():
        releases = sorted(
            folder for folder in (path / "releases").iterdir() if (folder / "annotations").is_dir()
        )
        distinct = {folder.resolve(): folder for folder in releases}
        latest = path / "releases" / "latest"
        if latest in releases or len(distinct) == 1:
            return (latest if latest in releases else releases[0]) / "annotations"
        if distinct:
            names = ", ".join(folder.name for folder in releases)
            raise DataError(f"several releases: {names}", where=path, hint=f"Give one: {releases[0]}")
    for folder in (path / "annotations", path):
        if folder.is_dir() and next(folder.rglob("*.json"), None) is not None:
            return folder
    return None


def read_darwin(path: Path) -> Dataset:
    """Read a Darwin data set: its folder, one release of it, its annotations, or a single JSON file.

    Lungs are drawn first and 'Ignore' areas over them. Images without lungs (CT slices, lateral views) are
    excluded, as in the paper. COVID is what has a COVID tag; an image with no tag at all is not labelled.
    The source is a tag `Source:NAME`, else `kermany` by that collection's file names, else `ieee8023` for
    images that carry a patient id, which in V7's data set only that collection has.

    Raises:
        DataError: no file is Darwin JSON. A single bad annotation or a missing image does not stop the
            reading: it is in `excluded`, marked broken.
    """
    folder = path.parent if path.is_file() else annotation_folder(path)
    if folder is None:
        raise DataError("there is no Darwin annotation here", where=path)
    files = [path] if path.is_file() else sorted(folder.rglob("*.json"))
    root = _root(folder)
    images = _Images(root / "images" if (root / "images").is_dir() else root)
    rows: list[Row] = []
    excluded: list[Excluded] = []
    versions: Counter[int] = Counter()
    first_error: DataError | None = None
    for file in files:
        identity = file.relative_to(folder).with_suffix("").as_posix()
        try:
            annotation = read_annotation(file)
            versions[annotation.version] += 1
            found = _entry(identity, annotation, images)
        except DataError as error:
            first_error = first_error or error
            excluded.append(Excluded(identity, Exclusion.UNREADABLE, detail=error.message, broken=True))
            continue
        if isinstance(found, Row):
            rows.append(found)
        else:
            excluded.append(found)
    if not versions:
        raise first_error or DataError("there is no Darwin annotation here", where=path)
    if not path.is_file():
        excluded.extend(
            Excluded(file.stem, Exclusion.NOT_ANNOTATED, image=file) for file in images.unclaimed()
        )
    return Dataset(root, f"darwin-{versions.most_common(1)[0][0]}.0", tuple(rows), tuple(excluded))


def read_annotation(path: Path) -> Annotation:
    """Read one annotation file.

    Raises:
        DataError: it cannot be read, is larger than 64 MB, not Darwin JSON, a video, or has a bad outline.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError("the annotation is larger than 64 MB", where=path)
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot be read: {(error.strerror or str(error)).lower()}", where=path) from error
    except (ValueError, RecursionError) as error:
        raise DataError("not JSON", where=path) from error
    if not isinstance(content, dict) or not isinstance(content.get("annotations"), list):
        raise _not_darwin(path)
    if isinstance(content.get("item"), dict):
        return _version_2(content, path)
    if isinstance(content.get("image"), dict):
        return _version_1(content, path)
    raise _not_darwin(path)


def _version_1(content: dict[str, Any], path: Path) -> Annotation:
    image = content["image"]
    original = _text(image.get("original_filename")) or _text(image.get("filename"))
    if not original:
        raise _not_darwin(path)
    names = (original, _with_suffix_of(path.stem, original), _text(image.get("filename")))
    shapes, tags = _annotations(content["annotations"], None, path)
    size = _size(image, path)
    return Annotation(path, 1, tuple(filter(None, names)), _text(image.get("path")), size, shapes, tags)


def _version_2(content: dict[str, Any], path: Path) -> Annotation:
    item = content["item"]
    name = _text(item.get("name"))
    slots = item.get("slots") or [{}]
    if not name or not isinstance(slots, list) or not all(isinstance(slot, dict) for slot in slots):
        raise _not_darwin(path)
    slot = slots[0]
    if _text(slot.get("type")) == "video":
        raise DataError("a video, not one image", where=path)
    files = slot.get("source_files")
    source = files[0] if isinstance(files, list) and files and isinstance(files[0], dict) else {}
    file_name = _text(source.get("file_name"))
    # An item with several slots is a folder of that name with a folder for each slot.
    slot_name = _text(slot.get("slot_name"))
    names = (
        name,
        f"{name}/{slot_name}/{file_name}",
        file_name,
        _with_suffix_of(path.stem, file_name or name),
    )
    shapes, tags = _annotations(content["annotations"], slot_name, path)
    return Annotation(
        path, 2, tuple(filter(None, names)), _text(item.get("path")), _size(slot, path), shapes, tags
    )


def _annotations(
    annotations: list[Any], slot: str | None, path: Path
) -> tuple[tuple[Shape, ...], tuple[str, ...]]:
    """Lung and ignored outlines, and the names of the tags; other classes are nothing to us."""
    shapes: list[Shape] = []
    tags: list[str] = []
    for annotation in annotations:
        if not isinstance(annotation, dict) or not isinstance(annotation.get("name"), str):
            raise _not_darwin(path)
        name: str = annotation["name"].strip()
        slots = annotation.get("slot_names")
        if slot and isinstance(slots, list) and slots and slot not in slots:
            continue
        if "tag" in annotation:
            tags.append(name)
            continue
        value = LUNG if name.lower() in _LUNG_CLASSES else IGNORE if name.lower() == "ignore" else None
        if value is not None:
            shapes.append(Shape(value, _rings(_one_frame(annotation, path), path)))
    return tuple(shapes), tuple(tags)


def _one_frame(annotation: dict[str, Any], path: Path) -> dict[str, Any]:
    """A DICOM item keeps even a single image's outlines under 'frames'."""
    frames = annotation.get("frames")
    if not isinstance(frames, dict):
        return annotation
    if len(frames) != 1 or not isinstance(next(iter(frames.values())), dict):
        raise DataError("outlines in several frames, not one image", where=path)
    frame: dict[str, Any] = next(iter(frames.values()))
    return frame


def _rings(annotation: dict[str, Any], path: Path) -> tuple[Ring, ...]:
    outline = annotation.get("polygon", annotation.get("complex_polygon"))
    if not isinstance(outline, dict):
        kind = ", ".join(sorted(set(annotation) - {"name", "id", "slot_names", "properties"})) or "nothing"
        raise DataError(
            f"a lung given as {kind}, not as a polygon", where=path, hint="Export polygons from Darwin"
        )
    paths = list(outline.get("paths") or [])
    single = outline.get("path")
    if isinstance(single, list) and single:
        paths.extend(single if isinstance(single[0], list) else [single])
    paths.extend(outline.get("additional_paths") or [])
    if not paths:
        raise DataError("an outline without points", where=path)
    return tuple(_ring(points, path) for points in paths)


def _ring(points: Any, path: Path) -> Ring:
    try:
        ring = tuple((float(point["x"]), float(point["y"])) for point in points)
    except (TypeError, KeyError, ValueError, OverflowError) as error:
        raise DataError("an outline whose points are not x and y", where=path) from error
    if not ring:
        raise DataError("an outline without points", where=path)
    if not all(math.isfinite(value) and abs(value) <= _MAX_COORDINATE for point in ring for value in point):
        raise DataError(f"an outline with a coordinate beyond {_MAX_COORDINATE}", where=path)
    return ring


def _size(holder: dict[str, Any], path: Path) -> tuple[int, int] | None:
    height, width = holder.get("height"), holder.get("width")
    if height is None or width is None:
        return None
    for value in (height, width):
        if not isinstance(value, int) or not 0 < value <= _MAX_COORDINATE:
            raise DataError(f"an image size of {width} x {height}", where=path)
    if height * width > MAX_PIXELS:
        raise DataError(f"the image is too large: {width} x {height}", where=path)
    return height, width


def _entry(identity: str, annotation: Annotation, images: _Images) -> Row | Excluded:
    original = annotation.names[0]
    tags = annotation.tags
    values = dict(tag.split(":", 1) for tag in tags if ":" in tag)
    choices = dict(tag.split("/", 1) for tag in tags if "/" in tag and ":" not in tag)
    kermany = _KERMANY.match(original)
    findings = [tag for tag in tags if not set(":/") & set(tag) and tag.lower() not in _NO_FINDING]
    covid = any(is_covid(tag) for tag in findings) if tags else None
    if kermany and not findings:
        findings = [_KERMANY_FINDINGS[kermany[2] and kermany[2].lower()]]
        covid = False
    view = view_code(choices.get("View", "")) or ""
    image = images.claim(annotation)
    if image is None:
        return Excluded(identity, Exclusion.IMAGE_MISSING, original, covid=covid, broken=True)
    if not any(shape.value == LUNG for shape in annotation.shapes):
        return Excluded(identity, _why_no_lungs(view, tags), covid=covid, image=image)
    size = annotation.size or _header_size(image)
    number = values.get("PatientID", "").strip()
    source = values.get("Source", "").strip() or ("kermany" if kermany else "ieee8023" if number else "")
    patient = number or (kermany[1] or kermany[3] if kermany else "")
    return Row(
        id=identity,
        image=image,
        mask=DarwinMask(annotation.path, size),
        source=source,
        patient=f"{source}-{patient}" if source and patient else patient,
        finding="COVID-19" if covid else "/".join(findings),
        covid=covid,
        view=view,
        sex=choices.get("Sex", ""),
        age=_age(values.get("Age", "")),
        original_filename=original,
    )


def _why_no_lungs(view: str, tags: tuple[str, ...]) -> Exclusion:
    if "CT" in tags or view in SLICES:
        return Exclusion.CT_SLICE
    return Exclusion.LATERAL_VIEW if view == View.LATERAL else Exclusion.NO_MASK


class _Images:
    """The image files of a data set; each belongs to one annotation."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = sorted(
            file
            for file in folder.rglob("*")
            if is_image_file(file)
            and not any("mask" in part.lower() for part in file.relative_to(folder).parts[:-1])
        )
        self._named: dict[str, list[Path]] = defaultdict(list)
        for file in self._files:
            self._named[file.relative_to(folder).as_posix()].append(file)
            self._named[file.name].append(file)
        self._claimed: set[Path] = set()

    def claim(self, annotation: Annotation) -> Path | None:
        """The image of an annotation: by its folder and name, else by its name anywhere."""
        folder = annotation.folder.strip("/")
        for name in annotation.names:
            for candidate in dict.fromkeys((f"{folder}/{name}" if folder else name, name, _sanitised(name))):
                for file in self._named.get(candidate, ()):
                    if file not in self._claimed:
                        self._claimed.add(file)
                        return file
        return None

    def unclaimed(self) -> list[Path]:
        """Files that no annotation has claimed."""
        return [file for file in self._files if file not in self._claimed]


def _root(folder: Path) -> Path:
    """The data set's folder, from the folder of annotations."""
    if folder.name != "annotations":
        return folder
    above = folder.parent
    return above.parent.parent if above.parent.name == "releases" else above


def _header_size(image: Path) -> tuple[int, int]:
    from lungsight.dataset.cache import image_shape

    return image_shape(image)


def _sanitised(name: str) -> str:
    """The name that `darwin-py` gives a file whose own has characters that some systems forbid."""
    return re.sub(r'[<>:"/\\|?*]', "_", name)


def _with_suffix_of(stem: str, name: str) -> str:
    return stem + Path(name).suffix


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _age(text: str) -> float | None:
    match = re.match(r"\s*(\d{1,3}(?:\.\d+)?)", text)
    return float(match[1]) if match else None


def _not_darwin(path: Path) -> DataError:
    return DataError(
        "JSON, but not Darwin's",
        where=path,
        hint="Expected 'annotations' with 'image' (Darwin 1.0) or 'item' (2.x), as V7 exports them",
    )
