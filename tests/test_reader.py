"""What a caller may hold: files, open files, bytes, arrays, tensors, pictures; and what a model is to others."""

from __future__ import annotations

import copy
import io
import json
import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from lungsight import ConfigError, Failure, InputError, Limits, Lungsight, ModelError, Result, load_model
from lungsight.inference.reader import Sizes
from lungsight.inference.sessions import PROVIDERS, Session
from lungsight.preprocess import resize_image
from tiny_networks import draw_chest, write_bundle

PIXELS = draw_chest()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Lungsight:
    return load_model(write_bundle(tmp_path_factory.mktemp("networks")), threads=1)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("images") / "chest.png"
    cv2.imwrite(str(found), PIXELS)
    return found


SAME: dict[str, Any] = {
    "rows and columns": PIXELS,
    "a channel first": PIXELS[None],
    "a channel last": PIXELS[..., None],
    "a batch of one": PIXELS[None, None],
    "read-only": np.frombuffer(PIXELS.tobytes(), np.uint8).reshape(PIXELS.shape),
    "not contiguous": np.asfortranarray(PIXELS),
    "grey as colour": np.repeat(PIXELS[..., None], 3, axis=2),
    "colour, channels first": np.repeat(PIXELS[None], 3, axis=0),
    "masked": np.ma.masked_array(PIXELS, mask=False),
    "a picture": Image.fromarray(PIXELS),
    "a picture with a palette": Image.fromarray(PIXELS).convert("P"),
    "a colour picture": Image.fromarray(PIXELS).convert("RGBA"),
}


@pytest.mark.parametrize("kind", SAME)
def test_equal_pixels_give_equal_answers(model: Lungsight, kind: str) -> None:
    assert np.array_equal(model(SAME[kind]).labels, model(PIXELS).labels)
    assert model(SAME[kind]).xray.shape == PIXELS.shape


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["i2", "u2", "i4", "u4", "i8", "f4", "f8", "f2"])
def test_numbers_of_any_width_and_order(model: Lungsight, kind: str, order: str) -> None:
    values = PIXELS / 255 if kind[0] == "f" else PIXELS.astype(int) * 16 - (1000 if kind[0] == "i" else 0)
    found = model(values.astype(f"{order}{kind}"))
    own = model(PIXELS)
    overlap = 2 * (found.mask & own.mask).sum() / (found.mask.sum() + own.mask.sum())
    assert overlap > 0.95
    assert found.probability == pytest.approx(own.probability, abs=0.05)


def test_a_shift_of_grey_values_says_nothing(model: Lungsight) -> None:
    values = PIXELS.astype(np.int16)
    assert np.array_equal(model(values).labels, model(values - 2000).labels)


def test_tensors(model: Lungsight) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    tensor = torch.from_numpy(PIXELS.copy())
    for one in (tensor, tensor[None], (tensor / 255).requires_grad_(), (tensor / 255).double()):
        # A float is not rounded to whole grey levels on the way.
        assert (model(one).labels != model(PIXELS).labels).sum() <= 3
    assert model((tensor / 255).bfloat16()).mask.any()
    assert len(model.predict(torch.stack([tensor] * 2)[:, None])) == 2


def test_files_that_are_open(model: Lungsight, path: Path) -> None:
    own = model(path)
    with path.open("rb") as file:
        found = model(file)
    assert found.name == str(path)
    assert found.probability == own.probability == model(io.BytesIO(path.read_bytes())).probability
    with Image.open(path) as picture:
        assert model(picture).name == str(path)
    with pytest.raises(InputError, match="open as text"):
        model(io.StringIO("text"))


@pytest.mark.parametrize(
    "bad", [3, None, [PIXELS], object(), np.zeros(5), np.zeros((2, 3, 4, 5)), np.full((64, 64), np.nan)]
)
def test_what_is_no_x_ray_is_told(model: Lungsight, bad: Any) -> None:
    with pytest.raises(InputError):
        model(bad)
    (found,) = model.predict([bad])
    assert isinstance(found, Failure)


def test_several_at_once(model: Lungsight, path: Path) -> None:
    stack = np.stack([PIXELS] * 5)
    for sources, count in (
        (stack, 5),
        (stack[:, None], 5),
        (stack[..., None], 5),
        (stack[:3], 3),
        (stack[:1], 1),
        (PIXELS, 1),
        (np.repeat(PIXELS[..., None], 3, axis=2), 1),
        (path, 1),
        (str(path), 1),
        (path.read_bytes(), 1),
        (Image.fromarray(PIXELS), 1),
        ([path, PIXELS, path.parent / "absent.png"], 3),
        ([], 0),
    ):
        assert len(model.predict(sources)) == count
    assert isinstance(model.predict([path, "absent"])[1], Failure)
    stream = model.stream(iter([path, PIXELS]))
    assert [isinstance(one, Result) for one in stream] == [True, True]


def test_sizes_are_made_once_and_from_one_another() -> None:
    image = np.random.default_rng(0).integers(0, 256, (500, 640)).astype(np.uint8)
    sizes = Sizes(image)
    assert np.array_equal(sizes.at((256, 256)), resize_image(image, (256, 256)))
    assert sizes.at((256, 256)) is sizes.at((256, 256))
    direct = resize_image(image, (128, 128)).astype(int)
    assert np.abs(sizes.at((128, 128)).astype(int) - direct).max() <= 1
    # Where one side grows or does not divide, it is made from the image itself.
    small = Sizes(image[:200])
    small.at((256, 256))
    assert np.array_equal(small.at((128, 128)), resize_image(image[:200], (128, 128)))
    odd = Sizes(image)
    odd.at((256, 256))
    assert np.array_equal(odd.at((100, 100)), resize_image(image, (100, 100)))


# a model among others


def _predict(model: Lungsight, pixels: np.ndarray) -> float | None:
    return model(pixels).probability


def test_a_model_is_copied_into_other_processes(model: Lungsight) -> None:
    own = Lungsight(
        model.bundle, threads=1, threshold=0.3, mask_threshold=0.4, limits=Limits(max_pixels=10**6)
    )
    probability = own(PIXELS).probability
    for other in (pickle.loads(pickle.dumps(own)), copy.copy(own), copy.deepcopy(own)):
        assert other(PIXELS).probability == probability
        assert (other.threads, other.threshold, other.mask_threshold) == (1, 0.3, 0.4)
        assert other.limits == own.limits and other.networks == own.networks
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_predict, (own, PIXELS)) == probability


def test_results_can_be_pickled(model: Lungsight) -> None:
    result = model(PIXELS)
    other = pickle.loads(pickle.dumps(result))
    assert other.record == result.record
    assert np.array_equal(other.labels, result.labels)


def test_devices(model: Lungsight) -> None:
    with pytest.raises(ConfigError, match="not known"):
        Lungsight(model.bundle, device="toaster")
    import onnxruntime

    there = onnxruntime.get_available_providers()
    for device, provider in PROVIDERS.items():
        if provider not in there:
            with pytest.raises(ModelError) as error:
                Lungsight(model.bundle, device=device)(PIXELS)
            assert error.value.code == "no_device"
    assert Session(model.bundle.lungs, 1, "cpu").inputs == ("image",)


# a result by itself


def test_a_result_saves_itself(model: Lungsight, path: Path, tmp_path: Path) -> None:
    result = model(path)
    mask, picture, told = result.save(tmp_path / "new")
    assert [one.name for one in (mask, picture, told)] == [
        "chest.mask.png",
        "chest.overlay.jpg",
        "chest.json",
    ]
    assert np.array_equal(cv2.imread(str(mask), cv2.IMREAD_UNCHANGED), result.mask * 255)
    assert cv2.imread(str(picture)).shape == (*PIXELS.shape, 3)
    assert json.loads(told.read_text())["decision"] == result.decision
    result.save(tmp_path / "new", labels=True)
    assert np.array_equal(cv2.imread(str(mask), cv2.IMREAD_UNCHANGED), result.labels)
    odd = model(PIXELS, name="../../a b<c>.x.png")
    assert all(one.parent == tmp_path for one in odd.save(tmp_path))


def test_a_result_shows_itself(model: Lungsight) -> None:
    result = model(PIXELS, name="<b>.png")
    assert "<b>" in repr(result) and "160 x 200" in repr(result) and "Result(" in repr(result)
    html = result._repr_html_()
    assert "&lt;b&gt;" in html and "<b>.png" not in html and "not for diagnosis" in html
    assert cv2.imdecode(np.frombuffer(result._repr_png_(), np.uint8), 1).shape == (*PIXELS.shape, 3)
    plain = result.overlay(alpha=0)
    inside = (result.labels == 1) & (cv2.erode((result.labels == 1).astype(np.uint8), np.ones((9, 9))) > 0)
    assert (plain[inside] == PIXELS[inside][:, None]).all(), "an outline alone leaves the lungs as they are"
    assert (result.overlay()[inside] != PIXELS[inside][:, None]).any()
    assert max(result.overlay(side=50).shape) == 50
