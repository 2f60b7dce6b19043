"""Lung masks and an honest COVID-19 score for frontal chest X-rays. Research use only, not for diagnosis.

    >>> from lungsight import load_model
    >>> model = load_model()
    >>> import numpy as np
    >>> result = model(np.full((300, 250), 0.5))     # a path, bytes, an array, a tensor, a PIL image
    >>> result.mask.shape, result.status
    ((300, 250), <Status.REFUSED: 'refused'>)

Every type and error that a caller meets is here.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# ONNX Runtime reports to its maker unless this is set when it is loaded (from 1.29, on every system). Nothing that
# looks at X-rays may call out by itself.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from lungsight.audit import audit_score
    from lungsight.batch import Summary, Told, predict
    from lungsight.dataset import read_dataset
    from lungsight.errors import (
        ConfigError,
        DataError,
        InputError,
        LungsightError,
        MissingExtraError,
        ModelError,
        OutputError,
        PassedOverError,
        RefusedError,
    )
    from lungsight.inference import (
        Diagnosis,
        Failure,
        Gate,
        Lungsight,
        NetworkId,
        Result,
        ResultRecord,
        load_model,
    )
    from lungsight.inference.heart import Cardiothoracic
    from lungsight.inference.severity import Severity
    from lungsight.wording import (
        Decision,
        Flag,
        GateAnswer,
        LungConvention,
        LungLabels,
        RatioDoubt,
        RatioNote,
        Reason,
        Status,
        say,
        say_all,
    )
    from lungsight.writers.results import read_results
    from lungsight.xray import Limits, XRay, read_xray

__all__ = [
    "Cardiothoracic",
    "ConfigError",
    "DataError",
    "Decision",
    "Diagnosis",
    "Failure",
    "Flag",
    "Gate",
    "GateAnswer",
    "InputError",
    "Limits",
    "LungConvention",
    "LungLabels",
    "Lungsight",
    "LungsightError",
    "MissingExtraError",
    "ModelError",
    "NetworkId",
    "OutputError",
    "PassedOverError",
    "RatioDoubt",
    "RatioNote",
    "Reason",
    "RefusedError",
    "Result",
    "ResultRecord",
    "Severity",
    "Status",
    "Summary",
    "Told",
    "XRay",
    "__version__",
    "audit_score",
    "load_model",
    "predict",
    "read_dataset",
    "read_results",
    "read_xray",
    "say",
    "say_all",
]

_HOMES = {
    "ConfigError": "lungsight.errors",
    "DataError": "lungsight.errors",
    "Decision": "lungsight.wording",
    "Diagnosis": "lungsight.inference",
    "Failure": "lungsight.inference",
    "Flag": "lungsight.wording",
    "Gate": "lungsight.inference",
    "GateAnswer": "lungsight.wording",
    "InputError": "lungsight.errors",
    "Limits": "lungsight.xray",
    "LungConvention": "lungsight.wording",
    "LungLabels": "lungsight.wording",
    "Lungsight": "lungsight.inference",
    "LungsightError": "lungsight.errors",
    "MissingExtraError": "lungsight.errors",
    "ModelError": "lungsight.errors",
    "Cardiothoracic": "lungsight.inference.heart",
    "NetworkId": "lungsight.inference",
    "RatioDoubt": "lungsight.wording",
    "RatioNote": "lungsight.wording",
    "Severity": "lungsight.inference.severity",
    "OutputError": "lungsight.errors",
    "PassedOverError": "lungsight.errors",
    "Reason": "lungsight.wording",
    "RefusedError": "lungsight.errors",
    "Result": "lungsight.inference",
    "ResultRecord": "lungsight.inference",
    "Status": "lungsight.wording",
    "Summary": "lungsight.batch",
    "Told": "lungsight.batch",
    "XRay": "lungsight.xray",
    "audit_score": "lungsight.audit",
    "load_model": "lungsight.inference",
    "predict": "lungsight.batch",
    "read_dataset": "lungsight.dataset",
    "read_results": "lungsight.writers.results",
    "read_xray": "lungsight.xray",
    "say": "lungsight.wording",
    "say_all": "lungsight.wording",
}


def __getattr__(name: str) -> Any:
    # Imported at first use, so that `import lungsight` stays quick.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "audit_score":
        errors = importlib.import_module("lungsight.errors")
        errors.require("torch", feature="The audit", extra="train")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
