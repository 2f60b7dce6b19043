"""Images with PNG masks beside them, told apart by folder and matched by name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lungsight.dataset.masks import MaskFile
from lungsight.dataset.table import Dataset, Excluded, Row, is_image_file
from lungsight.errors import DataError
from lungsight.wording import Exclusion

_SUFFIXES = ("_mask", "-mask", "_semantic", "-semantic")


def find_masks(path: Path) -> tuple[list[Path], list[Path]] | None:
    """(images, masks) of `masks/`, `annotations/...masks/` or `NAME_mask.png` in a folder; None without masks."""
    folders = sorted(folder for folder in (*path.glob("*"), *path.glob("*/*")) if folder.is_dir())
    masked = [folder for folder in folders if "mask" in folder.name.lower()]
    if masked:
        masks = [file for folder in masked for file in folder.iterdir() if file.suffix.lower() == ".png"]
        images_folder = path / "images"
        places = [images_folder] if images_folder.is_dir() else [path, *(set(folders) - set(masked))]
        images = [file for folder in places for file in folder.iterdir() if is_image_file(file)]
    else:
        files = [file for folder in (path, path / "images") if folder.is_dir() for file in folder.iterdir()]
        masks = [file for file in files if file.suffix.lower() == ".png" and _stem(file) != file.stem]
        images = [file for file in files if is_image_file(file) and file not in masks]
    return (sorted(images), sorted(masks)) if masks else None


def read_semantic(path: Path, images: Iterable[Path], masks: Iterable[Path]) -> Dataset:
    """Pair images and masks (0 background, 127 ignore, 255 lung) by name; there are no labels in this layout.

    An image without a mask, or with a mask without lungs, is excluded; a mask without an image is broken.

    Raises:
        DataError: two masks or two images have one name, or no pair is left.
    """
    by_name = _by_name(masks, "masks")
    pictures = _by_name(images, "images")
    rows: list[Row] = []
    excluded: list[Excluded] = []
    for name, image in pictures.items():
        mask = by_name.get(name)
        if mask is None:
            excluded.append(
                Excluded(name, Exclusion.NO_MASK, detail="no lung mask: no mask file", image=image)
            )
        elif _is_blank(mask):
            excluded.append(
                Excluded(name, Exclusion.NO_MASK, detail="no lung mask: the mask is empty", image=image)
            )
        else:
            rows.append(Row(name, image, MaskFile(mask), original_filename=image.name))
    for name, mask in by_name.items():
        if name not in pictures:
            excluded.append(Excluded(name, Exclusion.IMAGE_MISSING, mask.name, broken=True))
    if not rows:
        raise DataError(
            "no image has a mask of the same name",
            where=path,
            hint="Expected images/NAME.jpg and masks/NAME.png",
        )
    return Dataset(path, "semantic-masks", tuple(rows), tuple(excluded))


def _by_name(files: Iterable[Path], what: str) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for file in files:
        if _stem(file) in named:
            raise DataError(f"two {what} are called {_stem(file)!r}", where=file, hint="Rename one")
        named[_stem(file)] = file
    return named


def _stem(file: Path) -> str:
    for suffix in _SUFFIXES:
        if file.stem.lower().endswith(suffix):
            return file.stem[: -len(suffix)]
    return file.stem


def _is_blank(path: Path) -> bool:
    """Whether no pixel is lung. Only a very small file can be blank, so that few have to be decoded."""
    mask = MaskFile(path)
    try:
        height, width = mask.shape()
        if path.stat().st_size > 1000 + height * width / 200:
            return False
        return not mask.load().any()
    except DataError:
        return False  # A damaged mask is named when its pixels are wanted.
