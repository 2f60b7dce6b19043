"""What an evaluation knows of the reporting checklists' items."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lungsight.config import Recipe, load_recipe
from lungsight.dataset.table import Dataset
from lungsight.evaluation import Evaluation
from lungsight.metrics import Interval
from lungsight.report.claim import CLAIM, TRIPOD, Item, checklist
from lungsight.wording import say


def fill_in(
    evaluation: Evaluation,
    dataset: Dataset,
    provenance: Mapping[str, Any],
    *,
    run: Path | None = None,
    external: bool = False,
    audited: bool = False,
) -> list[Item]:
    """Both checklists for an evaluation.

    Args:
        run: of the model, where it is one: its recipe and split answer more items.
        external: a second data set was tried.
        audited: the report has the shortcut audit's figures.
    """
    recipe = load_recipe(run / "config.toml") if run else None
    answers = {**_data(evaluation, dataset), **_statistics(evaluation, provenance)}
    if recipe is not None and run is not None:
        answers |= _model(recipe, run)
    if external:
        answers["external"] = "yes, the external AUROC of the first table"
    if audited:
        answers["robustness"] = "the shortcut audit: perturbation, retraining and sources"
    return checklist(
        {
            name: {number: answers[key] for number, key in places.items() if answers.get(key)}
            for name, places in ((CLAIM, _CLAIM), (TRIPOD, _TRIPOD))
        }
    )


_CLAIM = {
    "5": "retrospective", "7": "sources", "8": "exclusion", "9": "preprocessing", "12": "missing",
    "14": "reference", "19": "partitions", "20": "disjoint", "22": "network", "23": "software", "24": "seed",
    "25": "training", "26": "final", "27": "ensemble", "28": "metrics", "29": "uncertainty", "30": "robustness",
    "32": "internal", "33": "external", "35": "flow", "36": "characteristics", "37": "results", "38": "results",
    "39": "failures", "43": "code",
}  # fmt: skip
_TRIPOD = {
    "5a": "sources", "6b": "exclusion", "7": "preprocessing", "8a": "reference", "9b": "predictors", "10": "numbers",
    "11": "missing", "12a": "partitions", "12c": "network", "12e": "metrics", "12g": "software", "13": "imbalance",
    "14": "fairness", "15": "output", "18f": "code", "20a": "flow", "20b": "characteristics", "21": "numbers",
    "22": "network", "23a": "results", "23b": "clusters",
}  # fmt: skip


def _data(evaluation: Evaluation, dataset: Dataset) -> dict[str, str]:
    rows = evaluation.predictions.rows
    sources = Counter(row.source or "not given" for row in rows)
    reasons = Counter(say(item.code) for item in dataset.excluded)
    ages = sorted(row.age for row in rows if row.age is not None)
    sexes = Counter(row.sex for row in rows if row.sex)
    patients = {row.patient for row in rows if row.patient}
    target = evaluation.record.target
    characteristics = []
    if ages:
        characteristics.append(
            f"age median {ages[len(ages) // 2]:g}, {ages[0]:g} to {ages[-1]:g}, known of {len(ages)} images"
        )
    if sexes:
        characteristics.append("sex " + ", ".join(f"{name} {count}" for name, count in sexes.most_common(4)))
    positive = sum(row.positive is True for row in rows)
    excluded = "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common(6))
    return {
        "retrospective": "retrospective: images that had been collected before",
        "sources": f"{dataset.root.name} ({dataset.layout}): "
        + ", ".join(f"{name} {count}" for name, count in sources.most_common(8)),
        "exclusion": f"by the table's rules: {excluded}" if excluded else "none by the table's rules",
        "missing": f"{len(evaluation.predictions.failures)} images without a prediction or unreadable, left out "
        "and listed; nothing is imputed",
        "reference": f"as the table has it ({target}), masks by its annotators (in part: who and "
        "how is for the authors)",
        "predictors": "the pixels of one frontal chest X-ray; no clinical data",
        "numbers": f"{len(rows)} images, {positive} with {target.name}, "
        f"{len(patients) or 'unknown number of'} patients",
        "flow": f"{len(dataset) + len(dataset.excluded)} images listed, {len(dataset.excluded)} excluded, "
        f"{len(rows)} evaluated ({evaluation.predictions.part})",
        "characteristics": "; ".join(characteristics),
    }


def _statistics(evaluation: Evaluation, provenance: Mapping[str, Any]) -> dict[str, str]:
    scored, masked = evaluation.score, evaluation.masks
    metrics, results = [], []
    target = evaluation.record.target
    same = scored.sources.same_source if scored else None
    if masked:
        metrics.append("Dice, IoU, sensitivity, precision, NSD, HD95, ASSD, per image and pooled")
        results.append(f"Dice {_said(masked.per_image['dice'])}, NSD {_said(masked.per_image['nsd'])}")
    if scored:
        metrics.append(
            "AUROC, AUPRC, sensitivity, specificity and predictive values at a threshold, sensitivity and specificity "
            "at 95 % of the other, Brier score, calibration slope and intercept, calibration and decision curves"
        )
        results.append(
            f"AUROC {_said(scored.metrics['auroc'])}, same source {_said(same.auroc) if same else 'not measurable'}"
        )
    kinds = sorted({group.kind for group in evaluation.record.subgroups})
    libraries = provenance.get("libraries", {})
    software = ", ".join(f"{name} {version}" for name, version in libraries.items())
    majority = f"{scored.majority_accuracy:.3f}" if scored else ""
    external = evaluation.predictions.part == "all"
    return {
        "metrics": "; ".join(metrics) + "; chosen after Metrics Reloaded (Maier-Hein et al. 2024)",
        "uncertainty": "95 % intervals over patients; AUROC by DeLong on the logit scale, the others as "
        "metrics.json names them"
        + ("; paired tests on the same patients" if evaluation.record.comparison else ""),
        "results": "; ".join(results),
        "failures": "the worst cases are in the report as pictures",
        "fairness": f"figures by {', '.join(kinds)}, with counts and warnings" if kinds else "",
        "clusters": "AUROC within one source beside the pooled one" if same else "",
        "imbalance": f"accuracy is given beside the majority class's ({majority}); AUPRC beside AUROC"
        if scored
        else "",
        "output": f"probability of {target.name}, cut at {scored.threshold:g}" if scored else "lung mask",
        "internal": "" if external else f"the {evaluation.predictions.part} images of the run's own table",
        "software": f"lungsight {provenance.get('lungsight', '')}, Python {provenance.get('python', '')}, {software}",
        "code": f"lungsight, commit {provenance.get('commit') or 'unknown'}; Apache-2.0 (in part: the data's "
        "availability is for the authors)",
    }


def _said(interval: Interval) -> str:
    """With what must be read beside it."""
    notes = "" if interval.too_few else interval.note
    return f"{interval} [{notes}]" if notes else str(interval)


def _model(recipe: Recipe, run: Path) -> dict[str, str]:
    data, training, split = recipe.data, recipe.training, recipe.split
    folds = sorted(path for path in run.glob("fold-*") if path.is_dir())
    facts = _facts(folds[0] if folds else run)
    by_patient = split.kind == "patient" or split.fold >= 0 or bool(folds)
    sizes = facts.get("split", {})
    counts = ", ".join(f"{name} {sizes[name]}" for name in ("train", "validation", "test") if name in sizes)
    grow = f", lungs grown by {data.dilation:g}" if data.crop_mode != "resize" else ""
    chosen = {"last": "the last epoch's weights", "best": "the lowest validation loss"}[training.checkpoint]
    return {
        "preprocessing": f"resized to {data.size[1]} x {data.size[0]}, cut {list(data.crop)}, {data.crop_mode}{grow}",
        "partitions": f"{sizes.get('name', split.kind)}, seed {training.seed}; images: {counts}",
        "disjoint": "patient" if by_patient else "image: images of one patient can be on both sides",
        "network": f"{recipe.network.name}, width {recipe.network.width:g}; the recipe is in config.toml",
        "seed": f"random, seed {training.seed}",
        "training": f"{training.optimiser}, learning rate {training.learning_rate:g} ({training.schedule}), batch "
        f"{training.batch}, at most {training.epochs} epochs, loss {training.loss}, augmentation "
        f"{training.augmentation}",
        "final": chosen
        + (f", early stopping with patience {training.patience}" if training.patience else ""),
        "ensemble": f"mean of {len(folds)} networks" if folds else "none",
    }


def _facts(run: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((run / "provenance.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found
