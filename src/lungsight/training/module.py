"""The Lightning module and the callbacks of the one training loop."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch import callbacks
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from lungsight.config import Recipe
from lungsight.errors import ModelError
from lungsight.files import atomic_write
from lungsight.networks import build
from lungsight.training.data import Batches


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training run stands; given to the listener after every few batches and every epoch."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float
    seconds_left: float
    validation: dict[str, float] | None = None


Listener = Callable[[Progress], None]


def make_network(recipe: Recipe) -> nn.Module:
    """The recipe's network with fresh weights."""
    return build(
        recipe.network.name,
        width=recipe.network.width,
        channels=recipe.data.channels,
        size=recipe.data.input_size,
    )


def channels_last(network: nn.Module) -> nn.Module:
    """The network with its weights laid out channels last, two to three times as fast on a CPU."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def overlap_counts(logits: Tensor, target: Tensor, threshold: float) -> Tensor:
    """(N, 3): pixels in both, predicted, true, for each image."""
    predicted = torch.sigmoid(logits) > threshold
    true = target > 0.5
    return torch.stack(
        [part.flatten(1).sum(1) for part in (predicted & true, predicted, true)], dim=1
    ).double()


class TrainingModule(lightning.LightningModule):
    """Loss, optimiser and schedule of a recipe around its network."""

    def __init__(self, recipe: Recipe, steps: int) -> None:
        super().__init__()
        self.recipe, self.steps = recipe, steps
        self.network = channels_last(make_network(recipe))
        self._sums: Tensor | None = None

    def _loss(self, logits: Tensor, target: Tensor) -> Tensor:
        if self.recipe.task == "gate":
            return F.cross_entropy(logits, target)
        loss = F.binary_cross_entropy_with_logits(logits, target)
        if self.recipe.training.loss == "bce-dice":
            probability = torch.sigmoid(logits)
            both = (probability * target).flatten(1).sum(1)
            total = probability.flatten(1).sum(1) + target.flatten(1).sum(1)
            loss = loss + (1 - (2 * both + 1) / (total + 1)).mean()
        return loss

    def _right(self, logits: Tensor, target: Tensor) -> Tensor:
        if self.recipe.task == "gate":
            return logits.argmax(dim=1) == target
        return (logits > 0) == (target > 0.5)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> dict[str, Tensor]:
        images, target = batch
        logits = self.network(images).float()
        loss = self._loss(logits, target)
        accuracy = self._right(logits.detach(), target).float().mean()
        return {"loss": loss, "accuracy": accuracy, "size": torch.tensor(len(images))}

    def on_validation_epoch_start(self) -> None:
        self._sums = torch.zeros(5, dtype=torch.float64, device=self.device)

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        images, target = batch
        logits = self.network(images).float()
        count = len(images)
        accuracy = self._right(logits, target).double().mean()
        dice = torch.zeros((), dtype=torch.float64, device=self.device)
        if self.recipe.task == "lungs":
            both, predicted, true = overlap_counts(logits, target, self.recipe.evaluation.threshold).T
            dice = ((2 * both + 1e-9) / (predicted + true + 1e-9)).mean()
        if self._sums is not None:
            self._sums += torch.stack(
                [
                    self._loss(logits, target).double() * count,
                    accuracy * count,
                    dice * count,
                    torch.tensor(float(count), dtype=torch.float64, device=self.device),
                    torch.zeros((), dtype=torch.float64, device=self.device),
                ]
            )

    def on_validation_epoch_end(self) -> None:
        if self._sums is None:
            return
        loss, accuracy, dice, count, _ = self._sums.tolist()
        self.log("val_loss", loss / count, sync_dist=True)
        self.log("val_accuracy", accuracy / count, sync_dist=True)
        if self.recipe.task == "lungs":
            self.log("val_dice", dice / count, sync_dist=True)

    def on_train_epoch_start(self) -> None:
        # Dropout draws from torch's global generator: seeded anew each epoch, a resumed run draws what an
        # uninterrupted one draws.
        torch.manual_seed(self.recipe.training.seed * 100_003 + self.current_epoch)

    def configure_optimizers(self) -> Any:
        settings = self.recipe.training
        kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
        # epsilon 1e-7 is Keras's.
        optimiser = kinds[settings.optimiser](
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, eps=1e-7
        )
        if settings.schedule == "constant":
            return optimiser
        total, warm = self.steps * settings.epochs, max(1, self.steps * settings.epochs // 25)

        def factor(step: int) -> float:
            if step < warm:
                return (step + 1) / warm
            done = (step - warm) / max(1, total - warm)
            return 0.5 * (1 + float(torch.cos(torch.tensor(done * torch.pi)))) + 1e-3

        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


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


class Checkpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place and moves it there.

    Lightning's own writes it to the system's temporary folder: from another disk the move is a copy, which `kill -9`
    can cut.
    """

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        # Into memory first: torch does not say that a disk is full as others do.
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        with atomic_write(path) as temporary:
            temporary.write_bytes(buffer.getbuffer())

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> Any:
        return read_checkpoint(path, map_location)


def read_checkpoint(path: str | Path, where: Any = None) -> Any:
    """What a checkpoint holds, read as data and never as a program; raises ModelError."""
    try:
        return torch.load(path, map_location=where, weights_only=True)
    except Exception as error:  # torch raises errors of many kinds for a damaged file
        raise ModelError(
            "the checkpoint is damaged", where=path, hint="Delete it, and --resume starts from the beginning"
        ) from error


class History(callbacks.Callback):
    """Keeps a row an epoch (it travels in the checkpoint), tells the listener, and watches the clock."""

    def __init__(self, listener: Listener | None, minutes: float | None) -> None:
        self.rows: list[dict[str, float]] = []
        self.out_of_time = False
        self._listener, self._minutes = listener, minutes
        self._begun = time.monotonic()
        self._waited = self._worked = 0.0
        self._mark = self._epoch_begun = 0.0
        self._sums = [0.0, 0.0, 0.0]

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])

    @property
    def data_wait_fraction(self) -> float:
        """Share of the training time in which the network waited for its next batch."""
        total = self._waited + self._worked
        return self._waited / total if total else 0.0

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._sums = [0.0, 0.0, 0.0]
        self._mark = self._epoch_begun = time.monotonic()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        now = time.monotonic()
        self._waited += now - self._mark
        self._mark = now

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        self._worked += now - self._mark
        self._mark = now
        size = float(outputs["size"])
        for place, key in enumerate(("loss", "accuracy")):
            self._sums[place] += float(outputs[key]) * size
        self._sums[2] += size
        steps = int(trainer.num_training_batches)
        if self._listener and (batch_idx % 10 == 9 or batch_idx + 1 == steps):
            self._tell(trainer, batch_idx + 1, steps, None)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.sanity_checking or not self._sums[2]:
            return
        loss, accuracy, count = self._sums
        seconds = time.monotonic() - self._epoch_begun
        row = {"epoch": float(trainer.current_epoch + 1), "loss": loss / count, "accuracy": accuracy / count}
        row |= {
            name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val_")
        }
        self.rows.append(row | {"seconds": round(seconds, 2)})
        if self._listener:
            self._tell(trainer, int(trainer.num_training_batches), int(trainer.num_training_batches), row)
        spent = time.monotonic() - self._begun
        if (
            self._minutes
            and spent + 1.1 * seconds > self._minutes * 60
            and trainer.current_epoch + 1 < trainer.max_epochs
        ):
            self.out_of_time = True
            trainer.should_stop = True

    def _tell(self, trainer: Any, step: int, steps: int, validation: dict[str, float] | None) -> None:
        if self._listener is None:
            return
        done = trainer.current_epoch * steps + step
        spent = time.monotonic() - self._epoch_begun
        pace = self.rows[-1]["seconds"] if self.rows else spent / max(step, 1) * steps
        left = max(0.0, trainer.max_epochs * steps - done) / steps * pace
        loss, accuracy, count = self._sums
        self._listener(
            Progress(
                trainer.current_epoch + 1,
                int(trainer.max_epochs),
                step,
                steps,
                loss / max(count, 1),
                accuracy / max(count, 1),
                left,
                validation,
            )
        )
