"""Lung masks and an honest COVID-19 score for frontal chest X-rays. Research use only, not for diagnosis."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# ONNX Runtime reports to its maker unless this is set when it is loaded (from 1.29, on every system). Nothing that
# looks at X-rays may call out by itself.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from lungsight.batch import predict
    from lungsight.dataset import read_dataset
    from lungsight.errors import LungsightError
    from lungsight.inference import load_model
    from lungsight.xray import read_xray

__all__ = ["LungsightError", "__version__", "load_model", "predict", "read_dataset", "read_xray"]

_HOMES = {
    "LungsightError": "lungsight.errors",
    "load_model": "lungsight.inference",
    "predict": "lungsight.batch",
    "read_dataset": "lungsight.dataset",
    "read_xray": "lungsight.xray",
}


def __getattr__(name: str) -> Any:
    # Imported at first use, so that `import lungsight` stays quick.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
