"""Training on several devices: which of the processes that torchrun started this one is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from lungsight.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those that train one network together, one to a device."""

    rank: int = 0
    """0 writes the run folder; the others only compute."""
    count: int = 1
    here: int = 1
    """Processes on this machine."""

    @classmethod
    def of_environment(cls) -> Processes:
        """As torchrun says it; one process where it did not start this one.

        Raises:
            ConfigError: machines have different numbers of processes.
        """
        if not torch.distributed.is_available() or not torch.distributed.is_torchelastic_launched():
            return cls()
        rank, count, here = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"))
        if count % here:
            raise ConfigError(
                "every machine must run the same number of processes",
                hint="Give all the same --nproc-per-node",
            )
        return cls(rank, count, here)

    def check_batch(self, batch: int) -> None:
        """Raise ConfigError where a batch has no image for some process."""
        if batch < self.count:
            raise ConfigError(
                "a batch needs at least one image for each process",
                where="training.batch",
                hint="It is the batch of all processes together: give a larger one, or start fewer",
            )

    def lightning(self, kind: str) -> dict[str, Any]:
        """What a Lightning trainer must be told of them, beside the accelerator; nothing where there is one.

        Args:
            kind: 'cpu', 'cuda' or 'mps'.

        Raises:
            ConfigError: PyTorch cannot join devices of this kind.
        """
        if self.count == 1:
            return {}
        if kind == "mps":
            raise ConfigError("several processes cannot train on mps together", where="--device")
        from lightning.pytorch.strategies import DDPStrategy

        return {
            "strategy": DDPStrategy(process_group_backend="nccl" if kind == "cuda" else "gloo"),
            "devices": self.here,
            "num_nodes": self.count // self.here,
            # Lightning's would give whole batches to each process, and make the global batch larger.
            "use_distributed_sampler": False,
            # PyTorch has none for CPUs.
            "sync_batchnorm": kind == "cuda",
        }


def sum_over_processes(trainer: Any, values: list[float]) -> list[float]:
    """The sums of some numbers over all processes of a Lightning trainer; every process must ask."""
    if trainer.world_size == 1:
        return values
    here = torch.tensor(values, dtype=torch.float64, device=trainer.strategy.root_device)
    total: list[float] = trainer.strategy.reduce(here, reduce_op="sum").tolist()
    return total


class Share(TorchDataset[tuple[Tensor, ...]]):
    """Every `count`-th image of each batch, from the `rank`-th on, so that the processes share one batch.

    Each process makes the whole batch, since its augmentation is drawn from one generator: the images are those that a
    single process trains with.
    """

    def __init__(self, batches: TorchDataset[tuple[Tensor, Tensor]], processes: Processes) -> None:
        self.batches, self.processes = batches, processes

    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]

    def __getitem__(self, number: int) -> tuple[Tensor, ...]:
        """Images, targets, and (2,) how many images these are and how many the whole batch has.

        Where there are fewer images than processes, some get the first image and count it as none: all must take part
        in every step.
        """
        images, target = self.batches[number]
        mine = slice(self.processes.rank, None, self.processes.count)
        count = len(images[mine])
        mine = mine if count else slice(0, 1)
        sizes = torch.tensor([count, len(images)], dtype=torch.float32)
        return images[mine].contiguous(memory_format=torch.channels_last), target[mine].contiguous(), sizes
