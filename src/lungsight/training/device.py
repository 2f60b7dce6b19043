"""Where a network trains: a processor by name."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lungsight.errors import ConfigError

DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True, slots=True)
class Device:
    """One processor that PyTorch can use here."""

    kind: str
    """'cpu', 'cuda' or 'mps'."""
    index: int = 0
    """Which of several of that kind."""

    @classmethod
    def of(cls, name: str) -> Device:
        """A device by name.

        Args:
            name: 'auto' (a GPU where there is one), 'cpu', 'cuda', 'cuda:1', 'mps'.

        Raises:
            ConfigError: there is no such device, or PyTorch was built without it.
        """
        kind, _, number = name.partition(":")
        if kind not in DEVICES or (number and not (kind == "cuda" and number.isascii() and number.isdigit())):
            raise ConfigError(
                "there is no such device",
                code="device",
                where="--device",
                hint=f"Use {', '.join(DEVICES)} or cuda:1",
            )
        if kind == "auto":
            found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
            return cls(next((name for name, there in found.items() if there), "cpu"))
        index = int(number or 0)
        there = {
            "cpu": True,
            "cuda": torch.cuda.is_available() and index < torch.cuda.device_count(),
            "mps": torch.backends.mps.is_available(),
        }[kind]
        if not there:
            raise ConfigError(
                f"PyTorch finds no {kind} device of that number here",
                code="device",
                where="--device",
                hint="Use --device cpu, or install the PyTorch build for this machine (see README)",
            )
        return cls(kind, index)

    @property
    def torch(self) -> torch.device:
        """As PyTorch names it."""
        return torch.device(self.kind, self.index) if self.kind == "cuda" else torch.device(self.kind)

    @property
    def lightning(self) -> dict[str, object]:
        """`accelerator` and `devices` of a Lightning trainer."""
        return {"accelerator": self.kind, "devices": [self.index] if self.kind == "cuda" else 1}

    def precision(self, wanted: str) -> str:
        """Lightning's name for `training.precision` on this device.

        Args:
            wanted: 'auto', 'float32' or 'bfloat16'.
        """
        if wanted == "auto":
            fast = {"cpu": torch.cpu._is_avx512_bf16_supported, "cuda": torch.cuda.is_bf16_supported}.get(
                self.kind
            )
            wanted = "bfloat16" if fast is not None and fast() else "float32"
        return "bf16-mixed" if wanted == "bfloat16" else "32-true"
