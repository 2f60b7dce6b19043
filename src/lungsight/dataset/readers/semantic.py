"""Images with PNG masks beside them, told apart by folder and matched by name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from lungsight.dataset.locate import same_name
from lungsight.dataset.masks import MaskFile
from lungsight.dataset.table import Dataset, Excluded, Row, is_image_file
from lungsight.errors import DataError
from lungsight.wording import Exclusion

_MASK = re.compile(
    r"[_\- .](?:lungs?[_-]?)?(?:masks?|semantic|labels?|seg(?:mentation)?|lungs?)$", re.IGNORECASE
)
_MASK_SUFFIXES = frozenset({".png", ".bmp", ".gif", ".tif", ".tiff", ".jpg", ".jpeg"})


def find_masks(path: Path) -> tuple[list[Path], list[Path]] | None:
    """(images, masks) of `masks/`, `annotations/...masks/` or `NAME_mask.png` in a folder; None without masks."""
    folders = sorted(folder for folder in (*path.glob("*"), *path.glob("*/*")) if folder.is_dir())
    masked = [folder for folder in folders if "mask" in folder.name.lower()]
    if masked:
        masks = [file for folder in masked for file in folder.iterdir() if is_mask_file(file)]
        images_folder = path / "images"
        places = [images_folder] if images_folder.is_dir() else [path, *(set(folders) - set(masked))]
        images = [file for folder in places for file in folder.iterdir() if is_image_file(file)]
    else:
        files = [file for folder in (path, path / "images") if folder.is_dir() for file in folder.iterdir()]
        masks = [file for file in files if is_mask_file(file) and image_name(file) != file.stem]
        taken = set(masks)
        images = [file for file in files if is_image_file(file) and file not in taken]
    return (sorted(images), sorted(masks)) if masks else None


def is_mask_file(path: Path) -> bool:
    """Whether a folder's entry can be a mask, by its suffix in any case."""
    return path.suffix.lower() in _MASK_SUFFIXES and not path.name.startswith(".") and path.is_file()


def image_name(mask: Path) -> str:
    """The name, without suffix, of the image that a mask file belongs to: `a_mask.PNG` -> `a`."""
    return _MASK.sub("", mask.stem) or mask.stem


def read_semantic(path: Path, images: Iterable[Path], masks: Iterable[Path]) -> Dataset:
    """Pair images and masks (0 background, 127 ignore, 255 lung) by name; there are no labels in this layout.

    An image without a mask, or with a mask without lungs, is excluded; a mask without an image is broken, and so
    is a name that two images or two masks have.

    Raises:
        DataError: no pair is left.
    """
    by_name = _by_name(masks)
    pictures = _by_name(images)
    rows: list[Row] = []
    excluded: list[Excluded] = []
    for key, found in pictures.items():
        name, image = found[0].stem, found[0]
        files = by_name.get(key, [])
        if len(found) > 1 or len(files) > 1:
            excluded.append(Excluded(name, Exclusion.AMBIGUOUS, broken=True, image=image))
        elif not files:
            excluded.append(
                Excluded(name, Exclusion.NO_MASK, detail="no lung mask: no mask file", image=image)
            )
        elif _is_blank(files[0]):
            excluded.append(
                Excluded(name, Exclusion.NO_MASK, detail="no lung mask: the mask is empty", image=image)
            )
        else:
            rows.append(Row(name, image, MaskFile(files[0]), original_filename=image.name))
    for key, files in by_name.items():
        if key not in pictures:
            name = image_name(files[0])
            excluded.append(Excluded(name, Exclusion.IMAGE_MISSING, files[0].name, broken=True))
    if not rows:
        raise DataError(
            "no image has a mask of the same name",
            where=path,
            hint="Expected images/NAME.jpg and masks/NAME.png",
        )
    return Dataset(path, "semantic-masks", tuple(rows), tuple(excluded))


def _by_name(files: Iterable[Path]) -> dict[str, list[Path]]:
    named: dict[str, list[Path]] = {}
    for file in files:
        named.setdefault(same_name(image_name(file)), []).append(file)
    return named


def _is_blank(path: Path) -> bool:
    """Whether no pixel is lung. Only a very small packed file can be blank, so that few have to be decoded."""
    mask = MaskFile(path)
    try:
        height, width = mask.shape()
        packed = path.suffix.lower() not in (".bmp", ".tif", ".tiff")
        if packed and path.stat().st_size > 1000 + height * width / 200:
            return False
        return not mask.load().any()
    except DataError:
        return False  # A damaged mask is named when its pixels are wanted.
