"""The one home of ONNX Runtime: a network's bytes in, arrays in and out."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsight.errors import ConfigError, ModelError
from lungsight.model import Bundle, Model
from lungsight.preprocess import Gray, to_unit

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
}
"""Devices, and what ONNX Runtime calls them. The installed package of ONNX Runtime says which are there."""

PACKAGES = {
    "cuda": "onnxruntime-gpu",
    "tensorrt": "onnxruntime-gpu",
    "rocm": "onnxruntime-rocm",
    "openvino": "onnxruntime-openvino",
    "directml": "onnxruntime-directml",
}
"""What to install in place of `onnxruntime` for a device."""


class Session:
    """One network on one device. The runtime's session is made at the first use, once, by any thread."""

    def __init__(self, model: Model, threads: int | None = None, device: str = "cpu") -> None:
        """Wrap a network; `threads` for one operation, all cores where None; `device` of `PROVIDERS`."""
        self.device = device
        self.card = model.card
        self._onnx = model.onnx
        self._threads = threads or os.cpu_count() or 1
        self._lock = threading.Lock()
        self._session: Any = None

    def run(self, batch: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """(N, channels, h, w) in [0, 1] -> the outputs by name, each with N first.

        Raises:
            ModelError: the file is not a network of the card's task, or does not take such input.
        """
        session = self.open()
        names = [output.name for output in session.get_outputs()]
        try:
            values = session.run(
                names, {session.get_inputs()[0].name: np.ascontiguousarray(batch, np.float32)}
            )
        except Exception as error:  # ONNX Runtime's errors have no common base but Exception
            raise self.broken("the network does not run", error) from error
        return dict(zip(names, values, strict=True))

    def maps(self, images: Iterable[Gray]) -> Iterator[NDArray[np.float32]]:
        """A lung network's answers to images of its own size, one after another, so that one is in memory at a time.

        Args:
            images: (h, w) each, `uint8` or `float32` in [0, 1]; an array of (N, h, w) does.

        Yields:
            (outputs, h, w) probabilities of each.

        Raises:
            ModelError: as `run` does.
        """
        for image in images:
            batch = np.repeat(to_unit(image)[None, None], self.card.input.channels, axis=1)
            yield self.run(batch)["probability"][0]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the network's inputs; raises ModelError as `run` does."""
        return tuple(str(entry.name) for entry in self.open().get_inputs())

    def open(self) -> Any:
        """The runtime's session; raises ModelError as `run` does."""
        with self._lock:
            if self._session is None:
                self._session = self._make()
                self._onnx = b""
            return self._session

    def _make(self) -> Any:
        import onnxruntime

        # Also where it was loaded before lungsight could say so.
        onnxruntime.disable_telemetry_events()
        provider = PROVIDERS[self.device]
        if provider not in onnxruntime.get_available_providers():
            raise self._no_device()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        # Errors are raised; warnings about a graph are nothing that a user can act on.
        options.log_severity_level = 3
        # Waiting threads would take the cores that decoding and writing need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = onnxruntime.InferenceSession(self._onnx, options, providers=[provider])
        except Exception as error:
            if self.device != "cpu":
                raise self._no_device() from error
            raise self.broken("the weights are no ONNX network", error) from error
        if provider not in session.get_providers():  # it falls back to the CPU without a word
            raise self._no_device()
        outputs = {output.name for output in session.get_outputs()}
        needed = {"diagnosis": "logit", "severity": "zones"}.get(self.card.task, "probability")
        inputs = [entry.name for entry in session.get_inputs()]
        if len(inputs) != 1 or needed not in outputs:
            raise self.broken(
                f"needs one input and the output {needed!r}; it has {inputs} and {sorted(outputs)}"
            )
        return session

    def _no_device(self) -> ModelError:
        package = PACKAGES.get(self.device)
        hint = (
            f"Install {package} in place of onnxruntime, with its drivers"
            if package
            else "Use another device"
        )
        return ModelError(
            f"the device {self.device!r} is not there for ONNX Runtime",
            code="no_device",
            where="device",
            hint=hint,
        )

    def broken(self, what: str, error: Exception | None = None) -> ModelError:
        """An error that names this network."""
        return ModelError(
            what,
            where=f"{self.card.name}.onnx",
            hint="Export it again with `lungsight export`",
            detail=str(error) if error else None,
        )


@dataclass(frozen=True, slots=True)
class Networks:
    """The sessions of a bundle, each with so many threads to an operation."""

    lungs: Session
    diagnosis: Session | None
    gate: Session | None
    severity: Session | None

    @classmethod
    def of(cls, bundle: Bundle, threads: int | None, device: str) -> Networks:
        """The sessions of a bundle; raises ConfigError where the device is not known."""
        if device not in PROVIDERS:
            raise ConfigError(
                "the device is not known", where="device", hint=f"Known: {', '.join(PROVIDERS)}"
            )
        models = (bundle.diagnosis, bundle.gate, bundle.severity)
        others = (Session(one, threads, device) if one else None for one in models)
        return cls(Session(bundle.lungs, threads, device), *others)

    def open(self) -> None:
        """Make the runtime's sessions now, in the order of use; one that cannot be made says so when it is used."""
        for one in (self.lungs, self.gate, self.diagnosis, self.severity):
            if one:
                with contextlib.suppress(ModelError):
                    one.open()
