"""An ONNX network without a card, of anybody's: one input, any outputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsight.errors import ModelError


@dataclass(frozen=True)
class Network:
    """An ONNX network of anybody's, without a card.

    Attributes:
        input_shape: of its one input; None where any length goes.
        outputs: names.
    """

    input_shape: tuple[int | None, ...]
    outputs: tuple[str, ...]
    _session: Any

    def run(self, batch: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """The outputs by name; raises ModelError where the network does not take the batch."""
        try:
            values = self._session.run(None, {self._session.get_inputs()[0].name: batch})
        except Exception as error:  # ONNX Runtime's errors have no common base but Exception
            raise ModelError("the network does not take such a batch", detail=str(error)) from error
        return dict(zip(self.outputs, values, strict=True))


def open_network(path: str | Path) -> Network:
    """Open any ONNX file with one input on the CPU; raises ModelError."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ModelError("cannot be read", where=path, detail=str(error)) from error
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # as above
        raise ModelError("is no ONNX network", where=path, detail=str(error)) from error
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise ModelError(f"has {len(inputs)} inputs; one is needed", where=path)
    shape = tuple(side if isinstance(side, int) else None for side in inputs[0].shape)
    return Network(shape, tuple(one.name for one in session.get_outputs()), session)
