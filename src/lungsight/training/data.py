"""Images on their way to a network: cached pixels in, seeded batches out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from lungsight.config import DataSettings, Recipe
from lungsight.phantom import HOSPITALS, negatives
from lungsight.phantom import draw as draw_phantom
from lungsight.preprocess import Edges, apply_mask, crop_to_lungs, dilate, resize_image, to_uint8
from lungsight.training import augment


@dataclass(frozen=True)
class Examples:
    """Everything that a run can be shown, in memory or memory-mapped.

    Attributes:
        inputs: (N, h, w) uint8 as the network sees them, but for the scale.
        masks: (N, h, w) bool, for the task `lungs`.
        labels: (N,) float32 of 0 and 1, for the task `diagnosis`; the gate has neither.
        groups: (N,) int, the (source, class) of each.
    """

    inputs: NDArray[np.uint8]
    masks: NDArray[np.bool_] | None
    labels: NDArray[np.float32] | None
    groups: NDArray[np.int64]


def view(images: NDArray[np.uint8], masks: NDArray[np.bool_], settings: DataSettings) -> NDArray[np.uint8]:
    """What the settings let a network see of each image.

    Args:
        images: (N, h, w) uint8.
        masks: (N, h, w) bool.

    Returns:
        (N, h', w') uint8: cropped, masked, or the lungs alone, as the settings say.
    """
    if settings.crop_mode == "crop_to_lungs":
        blank = np.zeros(settings.size, np.float32)
        alone = (
            crop_to_lungs(image, mask, settings.size, dilation=settings.dilation)
            for image, mask in zip(images, masks, strict=True)
        )
        return np.stack([to_uint8(blank if part is None else part) for part in alone])
    top, left, bottom, right = Edges(*settings.crop).box(images.shape[1:3])
    if settings.crop_mode == "resize":
        return images[:, top:bottom, left:right]
    kept = [
        apply_mask(image, dilate(mask, settings.dilation)) for image, mask in zip(images, masks, strict=True)
    ]
    return np.stack(kept)[:, top:bottom, left:right].astype(np.uint8)


def to_input(images: NDArray[np.uint8], channels: int) -> Tensor:
    """(N, h, w) uint8 -> (N, channels, h, w) float32 in [0, 1], channels last in memory."""
    # A copy: the images of a cache are a read-only map, which torch does not take without a warning.
    batch = torch.from_numpy(np.array(images, order="C")).unsqueeze(1).float().div_(255)
    return batch.expand(-1, channels, -1, -1).contiguous(memory_format=torch.channels_last)


HELD_OUT = 1
"""Goes into the seed of what is drawn for validation and test."""
PHANTOMS = 0.08
"""Share of drawn chests among the X-rays that a gate is shown: not everything that is drawn is refused."""


GATE_VIEWS = 2
"""Augmented views of each picture in training: to draw one takes longer than to learn from it."""


def gate_pictures(
    images: NDArray[np.uint8], rng: np.random.Generator, *, views: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """For each frontal X-ray (N, h, w) itself and a picture that is none.

    Args:
        views: augmented views of each; 0: each as it is.

    Returns:
        (M, h, w) uint8 and (M,) places in `GATE_CLASSES`; M is 2 N, or 2 N times `views`.
    """
    pictures: list[NDArray[np.uint8]] = []
    classes: list[int] = []
    for image in images:
        if rng.random() < PHANTOMS:
            image = phantom(rng, image.shape)
        kind = str(rng.choice(negatives.KINDS, p=negatives.SHARES))
        for picture, place in ((image, 0), (negatives.draw(kind, image, rng), negatives.label(kind))):
            shown = [augment.for_gate(picture, rng) for _ in range(views)] or [picture]
            pictures += shown
            classes += [place] * len(shown)
    return np.stack(pictures), np.array(classes, np.int64)


def phantom(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """A drawn frontal chest X-ray of `shape` (h, w)."""
    hospital = str(rng.choice(sorted(HOSPITALS)))
    drawn = draw_phantom(rng, hospital=hospital, covid=bool(rng.random() < 0.5), size=max(shape))
    return np.asarray(resize_image(drawn.pixels, shape), np.uint8)


class Batches(TorchDataset[tuple[Tensor, Tensor]]):
    """The batches of one epoch. Batch i of epoch e is the same in every run of one seed, resumed or not."""

    def __init__(
        self,
        examples: Examples,
        indices: NDArray[np.int64],
        recipe: Recipe,
        *,
        training: bool,
        epoch: int = 0,
    ) -> None:
        self.examples, self.recipe, self.training, self.epoch = examples, recipe, training, epoch
        settings = recipe.training
        order = np.asarray(indices)
        if training:
            rng = np.random.default_rng((settings.seed, epoch))
            if settings.balance == "source-and-class":
                groups = examples.groups[order]
                _, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
                weights = 1 / np.sqrt(counts[inverse])
                order = rng.choice(order, size=len(order), p=weights / weights.sum())
            else:
                order = rng.permutation(order)
        self.order = order

    def __len__(self) -> int:
        return -(-len(self.order) // self.recipe.training.batch)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        if not 0 <= number < len(self):
            raise IndexError(number)
        settings = self.recipe.training
        chosen = self.order[number * settings.batch : (number + 1) * settings.batch]
        images = self.examples.inputs[chosen]
        # The gate's pictures are drawn for validation too: never those of an epoch of training.
        part = () if self.training or self.recipe.task != "gate" else (HELD_OUT,)
        rng = np.random.default_rng((settings.seed, self.epoch, number, *part))
        if self.recipe.task == "gate":
            views = 0 if settings.augmentation != "gate" else GATE_VIEWS if self.training else 1
            pictures, classes = gate_pictures(images, rng, views=views)
            return to_input(pictures, self.recipe.data.channels), torch.from_numpy(classes)
        if self.examples.masks is not None:
            targets = self.examples.masks[chosen].astype(np.uint8)
            if self.training and settings.augmentation == "lungs":
                pairs = [
                    augment.for_lungs(image, mask, rng) for image, mask in zip(images, targets, strict=True)
                ]
                images, targets = (np.stack(part) for part in zip(*pairs, strict=True))
            target = torch.from_numpy(targets).unsqueeze(1).float()
        else:
            if self.examples.labels is None:
                raise ValueError("examples have neither masks nor labels")
            if self.training and settings.augmentation == "diagnosis":
                images = np.stack([augment.for_diagnosis(image, rng) for image in images])
            target = torch.from_numpy(self.examples.labels[chosen]).unsqueeze(1)
        return to_input(images, self.recipe.data.channels), target
