"""Images on their way to a network: cached pixels in, seeded batches out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from lungsight.config import DataSettings, Recipe
from lungsight.networks import NETWORKS, OUTPUTS
from lungsight.preprocess import Edges, apply_mask, crop_to_lungs, dilate, equalise, to_uint8
from lungsight.training import augment
from lungsight.training.gate_images import GATE_VIEWS, HELD_OUT, gate_images
from lungsight.training.processes import Processes, Share
from lungsight.training.targets import FULL, VISIBLE, Targets, targets, with_teachers


@dataclass(frozen=True)
class Examples:
    """Everything that a run can be shown, in memory or memory-mapped.

    Attributes:
        inputs: (N, h, w) uint8 as the network sees them, but for the scale.
        masks: (N, h, w) bool, for the task `lungs`.
        labels: (N,) float32 of 0 and 1, for the task `diagnosis`; the gate has neither.
        groups: (N,) int, the (source, class) of each.
        sources: (N,) int, the source of each.
        visible: (N,) bool, whose lungs are drawn by the convention 'visible'; None: none.
        hearts: index -> (h, w) bool, of those whose heart is drawn.
        taught: output -> (N, h, w) uint8, probabilities of a teacher times 255.
    """

    inputs: NDArray[np.uint8]
    masks: NDArray[np.bool_] | None
    labels: NDArray[np.float32] | None
    groups: NDArray[np.int64]
    sources: NDArray[np.int64] | None = None
    visible: NDArray[np.bool_] | None = None
    hearts: Mapping[int, NDArray[np.bool_]] = field(default_factory=dict)
    taught: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)

    def outlines(self, index: int) -> Targets:
        """What the annotation of one image says of each thing that a network marks."""
        if self.masks is None:
            raise ValueError("examples have no masks")
        return targets(
            np.asarray(self.masks[index], bool),
            visible=self.visible is not None and bool(self.visible[index]),
            heart=self.hearts.get(index),
        )


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
    if settings.equalise:
        images = np.stack([equalise(image) for image in images])
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
            count = min(settings.images_per_epoch or len(order), 10 * len(order))
            if settings.balance == "none":
                order = rng.permutation(order)[:count]
            else:
                by_source = settings.balance == "source" and examples.sources is not None
                groups = (examples.sources if by_source else examples.groups)[order]  # type: ignore[index]
                _, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
                weights = counts[inverse] ** (-1.0 if by_source else -0.5)
                order = rng.choice(order, size=count, p=weights / weights.sum())
        self.order = order

    def __len__(self) -> int:
        return -(-len(self.order) // self.recipe.training.batch)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        if not 0 <= number < len(self):
            raise IndexError(number)
        settings = self.recipe.training
        chosen = self.order[number * settings.batch : (number + 1) * settings.batch]
        images = self.examples.inputs[chosen]
        # The gate's images are drawn for validation too: never those of an epoch of training.
        part = () if self.training or self.recipe.task != "gate" else (HELD_OUT,)
        rng = np.random.default_rng((settings.seed, self.epoch, number, *part))
        if self.recipe.task == "gate":
            views = 0 if settings.augmentation != "gate" else GATE_VIEWS if self.training else 1
            shown, classes = gate_images(images, rng, views=views)
            return to_input(shown, self.recipe.data.channels), torch.from_numpy(classes)
        if self.examples.masks is not None and marks_several(self.recipe):
            return self._outlines(chosen, rng)
        if self.examples.masks is not None:
            masks = self.examples.masks[chosen].astype(np.uint8)
            if self.training and settings.augmentation == "lungs":
                pairs = [
                    augment.for_lungs(image, mask, rng) for image, mask in zip(images, masks, strict=True)
                ]
                images, masks = (np.stack(part) for part in zip(*pairs, strict=True))
            target = torch.from_numpy(masks).unsqueeze(1).float()
        else:
            if self.examples.labels is None:
                raise ValueError("examples have neither masks nor labels")
            change = {"diagnosis": augment.for_diagnosis, "mild": augment.mild}.get(settings.augmentation)
            if self.training and change is not None:
                images = np.stack([change(image, rng) for image in images])
            target = torch.from_numpy(self.examples.labels[chosen]).unsqueeze(1)
        return to_input(images, self.recipe.data.channels), target

    def _outlines(self, chosen: NDArray[np.int64], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Images, and for each the planes of `targets`: their values, then where they are known."""
        images: list[NDArray[np.uint8]] = []
        planes: list[NDArray[np.float32]] = []
        for index in chosen:
            image, found = (
                np.asarray(self.examples.inputs[index], np.uint8),
                self.examples.outlines(int(index)),
            )
            if self.training and self.examples.taught:
                answers = {name: maps[index] for name, maps in self.examples.taught.items()}
                found = with_teachers(found, answers, self.recipe.training.teacher_weight)
            if self.training and self.recipe.training.augmentation == "lungs":
                image, *moved = augment.for_lungs_and_heart(image, *found, rng)
                found = Targets(*moved)
            images.append(image)
            values = found.values.astype(np.float32) / np.float32(255)
            planes.append(np.concatenate([values, found.known], dtype=np.float32))
        return to_input(np.stack(images), self.recipe.data.channels), torch.from_numpy(np.stack(planes))


def marks_several(recipe: Recipe) -> bool:
    """Whether the recipe's network marks lungs in two conventions and the heart, not one mask."""
    return recipe.task == "lungs" and NETWORKS[recipe.network.name].answers == len(OUTPUTS)


def planes(examples: Examples, recipe: Recipe) -> NDArray[np.int64]:
    """(N,) which of `networks.OUTPUTS` each image's own annotation drew as lungs; 0 of a network with one output."""
    if examples.visible is None or not marks_several(recipe):
        return np.zeros(len(examples.inputs), np.int64)
    return np.where(examples.visible, VISIBLE, FULL)


class DataModule(lightning.LightningDataModule):
    """New seeded batches for every epoch; of each the share of this process, where there are several."""

    def __init__(
        self,
        train: Callable[[int], Batches],
        validation: Batches,
        workers: int = 0,
        processes: Processes | None = None,
    ) -> None:
        super().__init__()
        self._train, self._validation, self._workers = train, validation, workers
        self._processes = processes or Processes()

    def train_dataloader(self) -> DataLoader[Any]:
        epoch = self.trainer.current_epoch if self.trainer else 0
        return self._loader(self._train(epoch), self._workers)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader(self._validation, 0)

    def _loader(self, batches: Batches, workers: int) -> DataLoader[Any]:
        shown: TorchDataset[Any] = batches if self._processes.count == 1 else Share(batches, self._processes)
        # With a generator of its own: a loader that starts draws a number, from torch's global generator otherwise,
        # and it starts more often in a resumed run, whose dropout would differ.
        return DataLoader(shown, batch_size=None, num_workers=workers, generator=torch.Generator())
