"""From a folder of networks to a model that predicts."""

from __future__ import annotations

from pathlib import Path

from lungsight.inference.predictor import Lungsight
from lungsight.model import load_bundle
from lungsight.xray import Limits


def load_model(
    path: str | Path | None = None,
    *,
    threads: int | None = None,
    threshold: float | None = None,
    mask_threshold: float | None = None,
    lungs: str | None = None,
    limits: Limits | None = None,
    device: str = "cpu",
) -> Lungsight:
    """Load the networks that ship with lungsight, or those of a folder.

    Args:
        path: folder with `NAME.onnx` and `NAME.json` for lungs and, if wanted, diagnosis and gate.
        threads: for the networks and for decoding; all cores where None.
        threshold: probability from which an X-ray is called COVID-19; the card's where None.
        mask_threshold: probability from which a pixel is lung in the mask; the card's where None. The score always
            rests on the card's.
        lungs: what counts as lung in the mask: 'full', with what heart and diaphragm hide, or 'visible', as far as
            it is seen beside them; the card's where None ('full' for what ships).

        limits: how large a file is accepted; `Limits()` where None.
        device: 'cpu', 'cuda', 'openvino' ...: where the networks run; see `docs/devices.md`.

    Raises:
        ModelError: there is no usable lung network, or a file is not what its card says.
        ConfigError: a setting is out of range.

    Example:
        >>> import numpy as np
        >>> from lungsight import load_model
        >>> model = load_model()
        >>> result = model(np.zeros((300, 250), np.uint8))      # a path, bytes, an array, a tensor, a PIL image
        >>> result.decision, result.reasons
        (<Decision.NOT_SCORED: 'not_scored'>, (<Reason.BLANK: 'blank'>, <Reason.NOT_A_CHEST_XRAY: 'not_a_chest_xray'>))
    """
    return Lungsight(
        load_bundle(path),
        threads=threads,
        threshold=threshold,
        mask_threshold=mask_threshold,
        limits=limits,
        device=device,
        lungs=lungs,
    )
