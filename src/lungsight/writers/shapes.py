"""Masks in the forms of other programs: run lengths and polygons (COCO, Darwin, LabelMe), NIfTI."""

from __future__ import annotations

import gzip
import struct
from itertools import pairwise
from pathlib import PurePath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lungsight.inference.lung_masks import LEFT, RIGHT

NAMES = {RIGHT: "right lung", LEFT: "left lung"}
"""Of the labels; the sides are the patient's."""

Labels = NDArray[np.uint8]
"""(H, W): 0, 1 the patient's right and 2 the left lung."""
Polygon = list[tuple[int, int]]
"""Pixels (x, y) of an outline, in order; filling them and what they enclose gives the region back."""


def encode_rle(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """COCO's uncompressed run lengths: column by column, beginning with the pixels that are not in the mask.

    Args:
        mask: (H, W).
    """
    flat = np.concatenate([[False], mask.ravel(order="F"), [False]])
    edges = [0, *(np.flatnonzero(flat[1:] != flat[:-1])).tolist()]
    if edges[-1] != mask.size:
        edges.append(mask.size)
    return {"size": list(mask.shape), "counts": [after - before for before, after in pairwise(edges)]}


def polygons(mask: NDArray[np.bool_], *, holes: bool) -> list[Polygon]:
    """Outlines of every connected component, through the centres of its edge pixels.

    Args:
        mask: (H, W).
        holes: also the outlines of holes: their pixels belong to the mask, what they enclose does not.
    """
    how = cv2.RETR_CCOMP if holes else cv2.RETR_EXTERNAL
    found, _ = cv2.findContours(np.ascontiguousarray(mask).view(np.uint8), how, cv2.CHAIN_APPROX_SIMPLE)
    return [[(int(x), int(y)) for x, y in outline[:, 0]] for outline in found]


def coco(labels: Labels, file_name: str) -> dict[str, Any]:
    """One image with its lungs as COCO has it, without ids: `{"image": ..., "annotations": [...]}`."""
    annotations = []
    for label in NAMES:
        mask = labels == label
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not rows.size:
            continue
        left, top = int(columns[0]), int(rows[0])
        annotations.append(
            {
                "category_id": label,
                "segmentation": encode_rle(mask),
                "area": int(mask.sum()),
                "bbox": [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top],
                "iscrowd": 0,
            }
        )
    height, width = labels.shape
    return {"image": {"file_name": file_name, "height": height, "width": width}, "annotations": annotations}


def coco_categories() -> list[dict[str, Any]]:
    """COCO's categories; their ids are the labels."""
    return [{"id": label, "name": name, "supercategory": "lung"} for label, name in NAMES.items()]


def rle(labels: Labels, file_name: str) -> dict[str, Any]:
    """Both lungs as run lengths."""
    lungs = {name.partition(" ")[0]: encode_rle(labels == label) for label, name in NAMES.items()}
    return {"input": file_name, **lungs}


def darwin(labels: Labels, file_name: str) -> dict[str, Any]:
    """Darwin JSON 2.0 (V7): one polygon annotation a lung, with a path for each outline."""
    height, width = labels.shape
    annotations = []
    for label, name in NAMES.items():
        paths = [
            [{"x": float(x), "y": float(y)} for x, y in outline]
            for outline in polygons(labels == label, holes=True)
            if len(outline) > 2
        ]
        if paths:
            annotations.append(
                {"name": name, "polygon": {"paths": paths}, "slot_names": ["0"], "properties": []}
            )
    name = PurePath(file_name.replace("\\", "/")).name
    return {
        "version": "2.0",
        "item": {
            "name": name,
            "path": "/",
            "slots": [
                {
                    "slot_name": "0",
                    "type": "image",
                    "width": width,
                    "height": height,
                    "source_files": [{"file_name": name}],
                }
            ],
        },
        "annotations": annotations,
    }


def labelme(labels: Labels, file_name: str) -> dict[str, Any]:
    """LabelMe JSON: a polygon for each outline. LabelMe has no holes: those of a lung are filled."""
    height, width = labels.shape
    shapes = [
        {
            "label": name,
            "points": [[float(x), float(y)] for x, y in outline],
            "group_id": label,
            "shape_type": "polygon",
            "flags": {},
        }
        for label, name in NAMES.items()
        for outline in polygons(labels == label, holes=False)
        if len(outline) > 2
    ]
    return {
        "version": "5.0.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": file_name,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }


def nifti(labels: Labels, spacing: tuple[float, float] | None) -> bytes:
    """NIfTI-1, compressed: the label map as (columns, rows, 1) `uint8`.

    Columns run to the patient's left and rows to the feet, as on an upright frontal film. Without a spacing a pixel
    counts as 1, of an unknown unit. Source: https://nifti.nimh.nih.gov/nifti-1.

    Args:
        labels: (H, W).
        spacing: size of a pixel (row, column) in mm.
    """
    height, width = labels.shape
    down, across = spacing or (1.0, 1.0)
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, width, height, 1, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 2, 8)  # uint8, 8 bits
    struct.pack_into("<8f", header, 76, 1, across, down, 1, 0, 0, 0, 0)
    struct.pack_into("<3f", header, 108, 352, 1, 0)  # where the pixels begin; slope, intercept
    header[123] = 2 if spacing else 0  # mm
    struct.pack_into("<80s", header, 148, b"1 right lung, 2 left lung; research use only")
    struct.pack_into("<2h", header, 252, 0, 1)  # the affine below, scanner space
    # World axes run to the right, front and head.
    for row, values in enumerate(((-across, 0, 0, 0), (0, 0, 1, 0), (0, -down, 0, 0))):
        struct.pack_into("<4f", header, 280 + 16 * row, *values)
    header[344:348] = b"n+1\0"
    # The file's x runs fastest, which is the order of (H, W) in memory.
    return gzip.compress(bytes(header) + np.ascontiguousarray(labels, np.uint8).tobytes(), 6, mtime=0)
