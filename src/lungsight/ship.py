"""From a run folder to a file that ships: ONNX with its card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from msgspec import structs
from torch import nn

from lungsight.card import Calibration, Card, InputSettings, TrainedOn
from lungsight.config import Recipe
from lungsight.dataset.table import COVID
from lungsight.errors import ModelError
from lungsight.evaluation.conformal import conformal_of
from lungsight.evaluation.crossvalidation import load_calibration
from lungsight.evaluation.runs import load_metrics, member_folders
from lungsight.model import Model, save
from lungsight.networks import GATE_CLASSES, NETWORKS, LungsCNN, LungsEnsemble, Mirrored
from lungsight.records import to_toml
from lungsight.training import load_run
from lungsight.training.export import to_onnx
from lungsight.training.run_folder import write_weights

RESEARCH_ONLY = "Research use only: not a medical device, not for diagnosis."
PREVALENCE = 0.5
"""For which the probability of an exported diagnosis network holds."""
_LIMITS = {
    "lungs": (
        "Frontal chest X-rays only, upright, of adults and of children from one hospital.",
        "'full' is what the V7 annotators drew: lung fields with what heart and diaphragm hide; 'visible' is what the "
        "annotators of JSRT and Shenzhen drew: the lung as far as it is seen beside them.",
        "'heart' was learned from 87 films of adults, standing, posterior to anterior: elsewhere it is untested.",
    ),
    "diagnosis": (
        "Within one source its AUROC is the same-source figure of this card: read that one, not the pooled one.",
        "Its probability is meant for data half of which are COVID-19; that it is calibrated elsewhere is not shown.",
        "Its prediction set (calibration.conformal) holds the truth for nine in ten new patients like those it "
        "learned from, in either class; for others, and for subgroups, that is not shown.",
        "It learned from adults of one collection: on the children of another hospital it knows nothing.",
        "COVID-19 images of early 2020, mostly from publications; other viruses were hardly among the others.",
    ),
    "gate": (
        "CT slices, lateral views, limbs and pages were drawn, not collected: how many real ones are refused is known "
        "for a handful only.",
        "It lets inverted grey levels and mirrored images through.",
    ),
}


def export(
    run: str | Path, out: str | Path, *, name: str | None = None, licence: str = ""
) -> tuple[Model, float]:
    """Write `NAME.onnx` and its card, and of a lung network also `NAME.safetensors`, for a start of further training.

    A cross-validated folder becomes one network: the mean logit of one network of each repeat, calibrated on the
    out-of-fold means of as many, for images half of which are COVID-19.

    Args:
        run: a finished and evaluated run, or a cross-validated folder.
        out: folder for the two files.
        name: default: the task.
        licence: of the weights, for the card.

    Returns:
        The model, and its largest difference from PyTorch.

    Raises:
        ModelError: no finished run, not evaluated, another target than COVID-19, or the exported network differs.
    """
    folder = Path(run)
    folds = member_folders(folder)
    recipe, network = load_run(folds[0] if folds else folder)
    if recipe.task == "diagnosis" and recipe.data.target != COVID:
        raise ModelError(
            f"was trained on {recipe.data.target}, and what a shipped network answers is COVID-19",
            code="target",
            where=run,
            hint="Evaluate and audit the run itself",
        )
    metrics = load_metrics(folder)
    if folds:
        networks = [load_run(fold)[1] for fold in folds[: int(metrics.get("repeats", 1))]]
        network = _ensemble(networks)
    facts = _facts(folds[0] if folds else folder)
    code, difference = to_onnx(network, recipe)
    sizes = facts.get("split", {})
    card = Card(
        name=name or recipe.task,
        task=recipe.task,
        input=_input(recipe),
        threshold=float(metrics["threshold"]),
        outputs=("logit", "cam") if recipe.task == "diagnosis" else ("probability",),
        network=recipe.network.name,
        classes=_classes(recipe),
        convention="full" if recipe.task == "lungs" else None,
        calibration=_calibration(folder, folds),
        trained_on=(
            TrainedOn(
                name=str(facts.get("data_name", "")),
                fingerprint=str(facts.get("data_fingerprint", "")),
                images=int(metrics["images"]) if folds else int(sizes.get("train", 0)),
                patients=int(metrics["patients"] if folds else facts.get("patients", 0)),
                sources=tuple(facts.get("sources", ())),
            ),
        ),
        start=recipe.training.start,
        recipe=to_toml(recipe),
        command=str(facts.get("command", "")),
        commit=str(facts.get("commit", "")),
        seed=recipe.training.seed,
        metrics=_card_metrics(metrics),
        limits=(RESEARCH_ONLY, *_LIMITS[recipe.task]),
        licence=licence,
        created=str(facts.get("created", "")),
    )
    if recipe.task == "lungs":
        # So that `--start shipped` can go on from it: in the ONNX file the layers are joined.
        trained = network.network if isinstance(network, Mirrored) else network
        write_weights(Path(out) / f"{card.name}.safetensors", trained)
    return save(out, card, code), difference


def _ensemble(networks: list[nn.Module]) -> nn.Module:
    members = [network for network in networks if isinstance(network, LungsCNN)]
    if len(members) != len(networks):
        raise ModelError("only networks of the kind 'lungs-cnn' are joined into one")
    joined: nn.Module = LungsEnsemble(members)
    return joined.eval()


def _classes(recipe: Recipe) -> tuple[str, ...]:
    if recipe.task == "gate":
        return GATE_CLASSES
    outputs: tuple[str, ...] = getattr(NETWORKS[recipe.network.name], "outputs", ())
    return outputs


def _input(recipe: Recipe) -> InputSettings:
    data = recipe.data
    return InputSettings(
        size=data.input_size,
        preprocessing=data.crop_mode,
        resize_to=None if data.resized == data.input_size else data.resized,
        crop=data.crop,
        equalise=data.equalise,
        dilation=data.dilation,
        channels=data.channels,
    )


def _calibration(folder: Path, folds: list[Path]) -> Calibration | None:
    if not folds:
        return None
    found = load_calibration(folder)
    fitted = Calibration(
        slope=float(found["slope"]),
        intercept=float(found["intercept"]),
        replicates=tuple((float(slope), float(intercept)) for slope, intercept in found["replicates"]),
    )
    fitted = structs.replace(fitted, conformal=conformal_of(folder))
    # Five in six images of the one source with both classes are COVID-19: no user's are.
    return fitted.shifted(from_prevalence=float(found["prevalence"]), to_prevalence=PREVALENCE)


def _card_metrics(metrics: dict[str, Any]) -> dict[str, Any]:
    """What a card carries of `metrics.json`: metrics with intervals, not the curves or replicates."""
    left_out = ("calibration", "recipe", "task", "threshold")
    return {
        key: value for key, value in metrics.items() if key not in left_out and not isinstance(value, list)
    }


def _facts(run: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((run / "provenance.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError("the run's provenance.json is missing or damaged", where=run) from error
    return found
