"""Images on their way to a network: cached pixels in, seeded batches out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from lungsight.config import DataSettings, Recipe
from lungsight.preprocess import Edges, apply_mask, crop_to_lungs, dilate, to_uint8
from lungsight.training import augment
from lungsight.training.gate_images import GATE_VIEWS, HELD_OUT, gate_images


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


def network_inputs(
    images: NDArray[np.uint8], masks: NDArray[np.bool_], settings: DataSettings
) -> NDArray[np.uint8]:
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
            shown, classes = gate_images(images, rng, views=views)
            return to_input(shown, self.recipe.data.channels), torch.from_numpy(classes)
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


class DataModule(lightning.LightningDataModule):
    """New seeded batches for every epoch."""

    def __init__(self, train: Callable[[int], Batches], validation: Batches, workers: int = 0) -> None:
        super().__init__()
        self._train, self._validation, self._workers = train, validation, workers

    def train_dataloader(self) -> DataLoader[Any]:
        epoch = self.trainer.current_epoch if self.trainer else 0
        return self._loader(self._train(epoch), self._workers)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader(self._validation, 0)

    @staticmethod
    def _loader(batches: Batches, workers: int) -> DataLoader[Any]:
        # With a generator of its own: a loader that starts draws a number, from torch's global generator otherwise,
        # and it starts more often in a resumed run, whose dropout would differ.
        return DataLoader(batches, batch_size=None, num_workers=workers, generator=torch.Generator())
