"""Every form in which people keep a lung mask gives the same lungs, or is refused with the reason."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from lungsight.dataset.masks import MaskFile
from lungsight.errors import DataError

SIZE = 96


def drawn(*, hole: bool = False) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Two ellipses, the right and the left lung."""
    sides = []
    for box in ((10, 12, 42, 84), (54, 12, 86, 80)):
        canvas = Image.new("1", (SIZE, SIZE))
        ImageDraw.Draw(canvas).ellipse(box, fill=1)
        sides.append(np.asarray(canvas))
    return sides[0], sides[1]


RIGHT, LEFT = drawn()
BOTH = RIGHT | LEFT


def grey(background: int, right: int, left: int) -> NDArray[np.uint8]:
    out = np.full((SIZE, SIZE), background, np.uint8)
    out[RIGHT], out[LEFT] = right, left
    return out


def colour(
    background: tuple[int, ...], lungs: tuple[int, ...], left: tuple[int, ...] | None = None
) -> Image.Image:
    out = np.zeros((SIZE, SIZE, len(lungs)), np.uint8)
    out[:], out[RIGHT], out[LEFT] = background, lungs, left or lungs
    return Image.fromarray(out)


def xray() -> NDArray[np.uint8]:
    """Something with the levels of an X-ray."""
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 256, (12, 12)).astype(np.uint8)).resize((SIZE, SIZE))
    return np.asarray(smooth)


def jpeg(image: Image.Image, quality: int = 75) -> Image.Image:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality)
    return Image.open(io.BytesIO(data.getvalue()))


def palette(colours: list[int]) -> Image.Image:
    image = Image.fromarray(grey(0, 1, 1)).convert("P")
    image = Image.fromarray(grey(0, 1, 1), "L")
    image.putpalette(colours + [0] * (768 - len(colours)))
    return image


def alpha(lungs: tuple[int, int, int, int], background: tuple[int, int, int, int]) -> Image.Image:
    return colour(background, lungs)


FORMS = {
    "0/255": Image.fromarray(grey(0, 255, 255)),
    "0/1": Image.fromarray(grey(0, 1, 1)),
    "1 bit": Image.fromarray(BOTH),
    "labels 1, 2": Image.fromarray(grey(0, 1, 2)),
    "labels 64, 128": Image.fromarray(grey(0, 64, 128)),
    "labels 128, 255": Image.fromarray(grey(0, 128, 255)),
    "0/128": Image.fromarray(grey(0, 128, 128)),
    "0/64": Image.fromarray(grey(0, 64, 64)),
    "inverted": Image.fromarray(grey(255, 0, 0)),
    "inverted, 1 bit": Image.fromarray(~BOTH),
    "inverted, 1 and 0": Image.fromarray(grey(1, 0, 0)),
    "RGB": Image.fromarray(grey(0, 255, 255)).convert("RGB"),
    "red on black": colour((0, 0, 0), (255, 0, 0)),
    "dark red on black": colour((0, 0, 0), (128, 0, 0)),
    "blue and green on black": colour((0, 0, 0), (0, 0, 255), (0, 255, 0)),
    "red on white": colour((255, 255, 255), (255, 0, 0)),
    "yellow on purple": colour((80, 0, 80), (255, 255, 0)),
    "palette": palette([0, 0, 0, 128, 0, 0]),
    "palette, white first": palette([255, 255, 255, 0, 0, 0]),
    "alpha holds the shape": alpha((255, 255, 255, 255), (255, 255, 255, 0)),
    "alpha, black lungs": alpha((0, 0, 0, 255), (0, 0, 0, 0)),
    "alpha, red lungs": alpha((255, 0, 0, 255), (0, 0, 0, 0)),
    "alpha, half seen": alpha((255, 0, 0, 160), (0, 0, 0, 0)),
    "opaque RGBA": alpha((255, 255, 255, 255), (0, 0, 0, 255)),
    "LA": Image.fromarray(grey(0, 255, 255)).convert("LA"),
    "16 bits": Image.fromarray(grey(0, 255, 255).astype(np.uint16) * 257),
    "16 bits, labels": Image.fromarray(grey(0, 1, 2).astype(np.uint16)),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_that_are_read(form: str, tmp_path: Path) -> None:
    FORMS[form].save(tmp_path / "mask.png")
    assert (MaskFile(tmp_path / "mask.png").load() == BOTH).all()


@pytest.mark.parametrize(
    "image",
    [
        jpeg(Image.fromarray(grey(0, 255, 255))),
        jpeg(Image.fromarray(grey(0, 255, 255)), 40),
        jpeg(Image.fromarray(grey(255, 0, 0))),
        jpeg(Image.fromarray(grey(0, 64, 128))),
        jpeg(colour((0, 0, 0), (255, 0, 0)), 90),
        Image.fromarray(grey(0, 255, 255)).filter(ImageFilter.GaussianBlur(0.7)),
        Image.fromarray(grey(0, 255, 255)).resize((SIZE // 2, SIZE // 2)).resize((SIZE, SIZE)),
    ],
    ids=["JPEG", "poor JPEG", "inverted JPEG", "labels as JPEG", "red as JPEG", "antialiased", "resampled"],
)
def test_forms_that_lost_their_edges(image: Image.Image, tmp_path: Path) -> None:
    image.save(tmp_path / "mask.png")
    found = MaskFile(tmp_path / "mask.png").load()
    assert 2 * (found & BOTH).sum() / (found.sum() + BOTH.sum()) > 0.97


@pytest.mark.parametrize(
    "levels", [(0, 1, 1), (0, 1, 2), (0, 255, 255), (0, 0.5, 0.5), (0, 0.5, 1), (0, 1e6, 1e6), (1, 0, 0)]
)
def test_floats_are_read(levels: tuple[float, float, float], tmp_path: Path) -> None:
    """As tifffile and scikit-image write what a network gave."""
    background, right, left = levels
    values = np.where(RIGHT, right, np.where(LEFT, left, background)).astype(np.float32)
    Image.fromarray(values).save(tmp_path / "mask.tif")
    assert (MaskFile(tmp_path / "mask.tif").load() == BOTH).all()


@pytest.mark.parametrize("kind", ["soft", "below", "nan"])
def test_floats_that_are_no_mask_are_refused(kind: str, tmp_path: Path) -> None:
    values = xray().astype(np.float32) / 255 if kind == "soft" else BOTH.astype(np.float32)
    if kind != "soft":
        values[3, 3] = -1 if kind == "below" else np.nan
    Image.fromarray(values).save(tmp_path / "mask.tif")
    with pytest.raises(DataError) as error:
        MaskFile(tmp_path / "mask.tif").load()
    assert error.value.code == "mask_format"


def overlay() -> Image.Image:
    out = np.repeat(xray()[..., None], 3, axis=2)
    out[BOTH, 0] = 255
    return Image.fromarray(out)


def heat() -> Image.Image:
    ramp = np.linspace(0, 255, SIZE).astype(np.uint8)
    out = np.stack(
        [np.tile(ramp, (SIZE, 1)), np.tile(ramp[:, None], (1, SIZE)), np.tile(255 - ramp, (SIZE, 1))], 2
    )
    return Image.fromarray(out)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (overlay(), "an X-ray with the lungs painted over it"),
        (Image.fromarray(xray()), "those of a picture"),
        (heat(), "several colours|painted over it"),
        (Image.fromarray(np.full((SIZE, SIZE), 255, np.uint8)), "all of it is one area"),
        (
            Image.fromarray((np.arange(SIZE * SIZE) // 2400 * 60).reshape(SIZE, SIZE).astype(np.uint8)),
            "areas beside",
        ),
    ],
    ids=["overlay", "X-ray", "heat map", "full frame", "many areas"],
)
def test_forms_that_are_refused(image: Image.Image, words: str, tmp_path: Path) -> None:
    file = tmp_path / "mask.png"
    image.save(file)
    with pytest.raises(DataError, match=words) as caught:
        MaskFile(file).load()
    assert caught.value.code == "mask_format"


def test_an_ignored_part_is_no_lung(tmp_path: Path) -> None:
    values = grey(0, 255, 255)
    values[40:44, 20:30] = 127
    Image.fromarray(values).save(tmp_path / "mask.png")
    assert MaskFile(tmp_path / "mask.png").load().sum() == BOTH.sum() - 40
    Image.fromarray(np.where(BOTH, 127, 0).astype(np.uint8)).save(tmp_path / "ignored.png")
    assert not MaskFile(tmp_path / "ignored.png").load().any()


def test_an_empty_mask_is_empty(tmp_path: Path) -> None:
    for number, image in enumerate(
        (Image.new("L", (50, 40)), Image.new("1", (50, 40)), Image.new("RGB", (50, 40)))
    ):
        image.save(tmp_path / f"{number}.png")
        assert not MaskFile(tmp_path / f"{number}.png").load().any()
