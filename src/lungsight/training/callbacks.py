"""What watches a run: progress, checkpoints, early stopping."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import callbacks
from lightning.pytorch.plugins.io import TorchCheckpointIO

from lungsight.config import TrainingSettings
from lungsight.errors import ModelError
from lungsight.files import atomic_write
from lungsight.training.processes import sum_over_processes


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
        for place, key in enumerate(("mean_loss", "accuracy")):
            self._sums[place] += float(outputs[key]) * size
        self._sums[2] += size
        steps = int(trainer.num_training_batches)
        if self._listener and (batch_idx % 10 == 9 or batch_idx + 1 == steps):
            self._tell(trainer, batch_idx + 1, steps, None)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.sanity_checking:
            return
        loss, accuracy, count = sum_over_processes(trainer, self._sums)
        if not count:
            return
        seconds = time.monotonic() - self._epoch_begun
        row = {"epoch": float(trainer.current_epoch + 1), "loss": loss / count, "accuracy": accuracy / count}
        row |= {
            name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val_")
        }
        self.rows.append(row | {"seconds": round(seconds, 2)})
        if self._listener:
            self._tell(trainer, int(trainer.num_training_batches), int(trainer.num_training_batches), row)
        spent = time.monotonic() - self._begun
        if self._minutes:
            late = spent + 1.1 * seconds > self._minutes * 60
            # Processes have clocks of their own: the first one's holds for all.
            if trainer.strategy.broadcast(late) and trainer.current_epoch + 1 < trainer.max_epochs:
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


class EarlyStopping(callbacks.EarlyStopping):
    """Early stopping that also holds when a run is resumed after the decision to stop."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class Checkpoint(callbacks.ModelCheckpoint):
    """A checkpoint after every epoch, or after the one with the lowest validation loss, in a folder of its own.

    Args:
        folder: where `NAME.ckpt` is written.
        name: 'last', or 'best' for the lowest validation loss.
    """

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(
            dirpath=folder,
            filename=name,
            monitor="val_loss" if name == "best" else None,
            enable_version_counter=False,
        )

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        # Lightning's resolves the folder, which is known here, and warns where it is not empty, as it is on resuming.
        pass


def make_callbacks(settings: TrainingSettings, folder: Path, history: History) -> list[Any]:
    """The callbacks of a run whose checkpoints lie in `folder`, in the order in which they must act."""
    made: list[Any] = [history]
    # The last one is written last: from it a run resumes, and it remembers which epoch was the best. (Not by
    # `save_last`, which since Lightning 2.6 writes only when the best one is written.)
    if settings.checkpoint == "best":
        made.append(Checkpoint(folder, "best"))
    made.append(Checkpoint(folder, "last"))
    if settings.patience:
        made.append(EarlyStopping(monitor="val_loss", patience=settings.patience, mode="min"))
    if settings.ema_decay:
        made.append(callbacks.EMAWeightAveraging(decay=settings.ema_decay))
    return made
