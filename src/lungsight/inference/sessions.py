"""The one home of ONNX Runtime: a network's bytes in, arrays in and out."""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsight.errors import ModelError
from lungsight.model import Model


class Session:
    """One network on the CPU. The runtime's session is made at the first use, once, by any thread."""

    def __init__(self, model: Model, threads: int | None = None) -> None:
        """Wrap a network; `threads` for one operation, all cores where None."""
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
        session = self._open()
        names = [output.name for output in session.get_outputs()]
        try:
            values = session.run(
                names, {session.get_inputs()[0].name: np.ascontiguousarray(batch, np.float32)}
            )
        except Exception as error:  # ONNX Runtime's errors have no common base but Exception
            raise self.broken(f"the network does not run: {_first_line(error)}") from error
        return dict(zip(names, values, strict=True))

    @property
    def input_name(self) -> str:
        """Name of the network's one input; raises ModelError as `run` does."""
        return str(self._open().get_inputs()[0].name)

    def _open(self) -> Any:
        with self._lock:
            if self._session is None:
                self._session = self._make()
                self._onnx = b""
            return self._session

    def _make(self) -> Any:
        import onnxruntime

        # Also where it was loaded before lungsight could say so.
        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        # Errors are raised; warnings about a graph are nothing that a user can act on.
        options.log_severity_level = 3
        # Waiting threads would take the cores that decoding and writing need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = onnxruntime.InferenceSession(self._onnx, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise self.broken(f"the weights are no ONNX network: {_first_line(error)}") from error
        outputs = {output.name for output in session.get_outputs()}
        needed = "logit" if self.card.task == "diagnosis" else "probability"
        inputs = [entry.name for entry in session.get_inputs()]
        if len(inputs) != 1 or needed not in outputs:
            raise self.broken(
                f"needs one input and the output {needed!r}; it has {inputs} and {sorted(outputs)}"
            )
        return session

    def broken(self, what: str) -> ModelError:
        """An error that names this network."""
        return ModelError(
            what, where=f"{self.card.name}.onnx", hint="Export it again with `lungsight export`"
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
