"""One annotation file of V7: Darwin JSON 1.0 and 2.x.

Formats: https://docs.v7labs.com/reference/darwin-json and .../legacy-darwin-json-10.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsight.dataset.masks import IGNORE, LUNG, MAX_PIXELS, Ring, Shape, rasterise
from lungsight.errors import DataError
from lungsight.wording import DataNote

MAX_BYTES = 64 * 2**20
MAX_COORDINATE = 32_000
"""OpenCV draws with 16 bits before the point."""
_LUNG_CLASSES = frozenset({"lung", "lungs", "left lung", "right lung", "lung left", "lung right"})
_LAYER = "raster_layer"
_OTHER_KINDS = frozenset(
    {
        "bounding_box",
        "line",
        "keypoint",
        "ellipse",
        "cuboid",
        "skeleton",
        "link",
        "string",
        "graph",
        "table",
        "eye",
    }
)


@dataclass(frozen=True, slots=True)
class Annotation:
    """What one annotation file says of one of its images, whichever version it has."""

    path: Path
    version: int
    slot: int
    """Which image of an item with several."""
    slots: tuple[str, ...]
    """Names of all of them."""
    names: tuple[str, ...]
    """Under which names the image may lie, best first."""
    folder: str
    size: tuple[int, int] | None
    """(H, W), None where the file does not say."""
    shapes: tuple[Shape, ...]
    tags: tuple[str, ...]
    runs: tuple[int, ...] = ()
    """A raster layer: value, count, value, count ... row by row."""
    areas: tuple[tuple[int, int], ...] = ()
    """Value in the raster layer -> `LUNG` or `IGNORE`."""
    passed_over: tuple[tuple[DataNote, int], ...] = ()

    def has_lungs(self) -> bool:
        """Whether anything is drawn as lung."""
        return any(shape.value == LUNG for shape in self.shapes) or any(
            area == LUNG for _, area in self.areas
        )


@dataclass(frozen=True, slots=True)
class DarwinMask:
    """The outlines of one annotation file on an image of `size` (H, W).

    They are read again for each mask: those of a whole data set would fill hundreds of megabytes.
    """

    path: Path
    size: tuple[int, int]
    slot: int = 0

    def semantic(self) -> NDArray[np.uint8]:
        """(H, W) with 0 background, 127 ignore, 255 lung; raises DataError."""
        annotation = read_annotation(self.path, self.slot)
        drawn = rasterise(annotation.shapes, self.size)
        if not annotation.areas:
            return drawn
        layer = _layer(annotation, self.size)
        ignored = (drawn == IGNORE) | (layer == IGNORE)
        return np.where(ignored, np.uint8(IGNORE), np.maximum(drawn, layer))

    def load(self) -> NDArray[np.bool_]:
        """(H, W) bool: lung, less the ignored parts; raises DataError."""
        return np.asarray(self.semantic() == LUNG)

    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.size


def read_annotation(path: Path, slot: int = 0) -> Annotation:
    """Read one annotation file.

    Lungs given as a box, a line or another kind are passed over and counted, and so are outlines of fewer than three
    points and outlines wholly outside the image; raster layers are read.

    Args:
        path: the JSON file.
        slot: which image of an item with several.

    Raises:
        DataError: it cannot be read, is larger than 64 MB, not Darwin JSON, a video, or has a bad outline.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError("the annotation is larger than 64 MB", where=path)
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot be read: {(error.strerror or 'damaged').lower()}", where=path) from error
    except (ValueError, RecursionError) as error:
        raise DataError("not JSON", where=path) from error
    if not isinstance(content, dict) or not isinstance(content.get("annotations"), list):
        raise _not_darwin(path)
    if isinstance(content.get("item"), dict):
        return _version_2(content, path, slot)
    if isinstance(content.get("image"), dict):
        return _version_1(content, path)
    raise _not_darwin(path)


def _version_1(content: dict[str, Any], path: Path) -> Annotation:
    image = content["image"]
    original = _text(image.get("original_filename")) or _text(image.get("filename"))
    if not original:
        raise _not_darwin(path)
    names = (original, _with_suffix_of(path.stem, original), _text(image.get("filename")))
    size = _size(image, path)
    drawn = _Drawn(content["annotations"], "", True, size, path)
    return _annotation(drawn, path, 1, 0, ("",), names, _text(image.get("path")), size)


def _version_2(content: dict[str, Any], path: Path, number: int) -> Annotation:
    item = content["item"]
    name = _text(item.get("name"))
    slots = item.get("slots") or [{}]
    if not name or not isinstance(slots, list) or not all(isinstance(slot, dict) for slot in slots):
        raise _not_darwin(path)
    slot = slots[number]
    if _text(slot.get("type")) == "video":
        raise DataError("a video, not one image", where=path)
    files = slot.get("source_files")
    source = files[0] if isinstance(files, list) and files and isinstance(files[0], dict) else {}
    file_name = _text(source.get("file_name"))
    # An item with several slots is a folder of that name with a folder for each slot.
    slot_name = _text(slot.get("slot_name"))
    in_slot = (f"{name}/{slot_name}/{file_name}",) if file_name else ()
    alone = (name, *in_slot, file_name, _with_suffix_of(path.stem, file_name or name))
    names = alone if len(slots) == 1 else (*in_slot, file_name, *((name,) if number == 0 else ()))
    if not any(names):
        raise DataError("an image of an item with several has no file name", where=path)
    size = _size(slot, path)
    drawn = _Drawn(content["annotations"], slot_name, number == 0, size, path)
    every = tuple(_text(one.get("slot_name")) for one in slots)
    return _annotation(drawn, path, 2, number, every, names, _text(item.get("path")), size)


def _annotation(
    drawn: _Drawn,
    path: Path,
    version: int,
    slot: int,
    slots: tuple[str, ...],
    names: tuple[str, ...],
    folder: str,
    size: tuple[int, int] | None,
) -> Annotation:
    return Annotation(
        path,
        version,
        slot,
        slots,
        tuple(filter(None, names)),
        folder,
        size,
        tuple(drawn.shapes),
        tuple(drawn.tags),
        drawn.runs,
        tuple(drawn.areas.items()),
        tuple(drawn.passed_over.items()),
    )


class _Drawn:
    """What the annotations of one slot draw: outlines, a raster layer, tags."""

    def __init__(
        self, annotations: list[Any], slot: str, first: bool, size: tuple[int, int] | None, path: Path
    ) -> None:
        """`first`: annotations that name no slot belong to this one."""
        self.shapes: list[Shape] = []
        self.tags: list[str] = []
        self.runs: tuple[int, ...] = ()
        self.areas: dict[int, int] = {}
        self.passed_over: Counter[DataNote] = Counter()
        self._size, self._path = size, path
        masks: dict[str, int] = {}
        layers: list[dict[str, Any]] = []
        for annotation in annotations:
            if not isinstance(annotation, dict) or not isinstance(annotation.get("name"), str):
                raise _not_darwin(path)
            name: str = annotation["name"].strip()
            given = annotation.get("slot_names")
            slots = given if isinstance(given, list) else []
            if "tag" in annotation:
                # A tag concerns the person or the whole item, unless it names a slot.
                if not slots or not slot or slot in slots:
                    self.tags.append(name)
                continue
            if slot and (slot not in slots if slots else not first):
                continue
            if isinstance(annotation.get(_LAYER), dict):
                layers.append(annotation[_LAYER])
                continue
            value = LUNG if name.lower() in _LUNG_CLASSES else IGNORE if name.lower() == "ignore" else None
            if value is None:
                continue
            if "mask" in annotation:
                masks[str(annotation.get("id"))] = value
            else:
                self._outline(_one_frame(annotation, path), value)
        self._layer(layers, masks)

    def _outline(self, annotation: dict[str, Any], value: int) -> None:
        outline = annotation.get("polygon", annotation.get("complex_polygon"))
        if not isinstance(outline, dict):
            if _OTHER_KINDS & set(annotation):
                self.passed_over[DataNote.OTHER_ANNOTATION] += 1
                return
            raise DataError(
                "a lung that is neither a polygon nor a raster layer",
                where=self._path,
                hint="Export polygons from Darwin",
            )
        rings = _rings(outline, self._path)
        whole = tuple(ring for ring in rings if len(set(ring)) >= 3)
        if not whole:
            self.passed_over[DataNote.OUTLINE_TOO_SHORT] += 1
        elif self._outside(whole):
            self.passed_over[DataNote.OUTLINE_OUTSIDE] += 1
        else:
            self.shapes.append(Shape(value, whole))

    def _outside(self, rings: tuple[Ring, ...]) -> bool:
        """Whether the box around the outline has no pixel of the image."""
        if self._size is None:
            return False
        height, width = self._size
        across = [x for ring in rings for x, _ in ring]
        down = [y for ring in rings for _, y in ring]
        return max(across) < 0 or max(down) < 0 or min(across) > width - 1 or min(down) > height - 1

    def _layer(self, layers: list[dict[str, Any]], masks: dict[str, int]) -> None:
        """The masks that a layer holds; those in none are passed over."""
        held: set[str] = set()
        for layer in layers:
            runs, mapping = layer.get("dense_rle"), layer.get("mask_annotation_ids_mapping")
            if not isinstance(mapping, dict) or not isinstance(runs, list) or len(runs) % 2:
                raise DataError("a raster layer that is not Darwin's", where=self._path)
            if not all(isinstance(number, int) and number >= 0 for number in (*runs, *mapping.values())):
                raise DataError("a raster layer whose runs are not whole numbers", where=self._path)
            if self._size is not None and sum(runs[1::2]) != self._size[0] * self._size[1]:
                raise DataError("a raster layer of another size than the image", where=self._path)
            wanted = {number: masks[key] for key, number in mapping.items() if key in masks}
            held |= set(mapping) & set(masks)
            if wanted and self.areas:
                raise DataError("several raster layers on one image", where=self._path)
            if wanted:
                self.areas, self.runs = wanted, tuple(runs)
        if missing := set(masks) - held:
            self.passed_over[DataNote.OTHER_ANNOTATION] += len(missing)


def _layer(annotation: Annotation, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The raster layer, (H, W) with 0, 127 and 255."""
    values, counts = np.array(annotation.runs[::2], np.int64), np.array(annotation.runs[1::2], np.int64)
    if counts.max(initial=0) > MAX_PIXELS or counts.sum() != size[0] * size[1]:
        raise DataError("a raster layer of another size than the image", where=annotation.path)
    # Values are few and may be any number; only those of the mapping are looked for.
    drawn = np.zeros(len(values), np.uint8)
    for number, area in annotation.areas:
        drawn[values == number] = area
    return np.repeat(drawn, counts).reshape(size)


def _one_frame(annotation: dict[str, Any], path: Path) -> dict[str, Any]:
    """A DICOM item keeps even a single image's outlines under 'frames'."""
    frames = annotation.get("frames")
    if not isinstance(frames, dict):
        return annotation
    if len(frames) != 1 or not isinstance(next(iter(frames.values())), dict):
        raise DataError("outlines in several frames, not one image", where=path)
    frame: dict[str, Any] = next(iter(frames.values()))
    return frame


def _rings(outline: dict[str, Any], path: Path) -> tuple[Ring, ...]:
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
    if not all(math.isfinite(value) and abs(value) <= MAX_COORDINATE for point in ring for value in point):
        raise DataError(f"an outline with a coordinate beyond {MAX_COORDINATE}", where=path)
    return ring


def _size(holder: dict[str, Any], path: Path) -> tuple[int, int] | None:
    height, width = holder.get("height"), holder.get("width")
    if height is None or width is None:
        return None
    for value in (height, width):
        if not isinstance(value, int) or not 0 < value <= MAX_COORDINATE:
            raise DataError("an image size that cannot be", where=path)
    if height * width > MAX_PIXELS:
        raise DataError("the image is too large", where=path)
    return height, width


def _with_suffix_of(stem: str, name: str) -> str:
    return stem + Path(name).suffix


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _not_darwin(path: Path) -> DataError:
    return DataError(
        "JSON, but not Darwin's",
        where=path,
        hint="Expected 'annotations' with 'image' (Darwin 1.0) or 'item' (2.x), as V7 exports them",
    )
