"""From what a user names to a written evaluation report: predict, evaluate, take up the audit, write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lungsight import provenance
from lungsight.audit import Found, model_hash, read_audit
from lungsight.audit.audited import ask_as
from lungsight.dataset import Dataset, read_dataset, with_target
from lungsight.dataset.join import DataPath
from lungsight.dataset.table import COVID
from lungsight.dataset.target import UncertainAs
from lungsight.errors import ConfigError, DataError
from lungsight.evaluation import Evaluation, Predictions, evaluate
from lungsight.evaluation.compare import scorable
from lungsight.evaluation.mask_files import read_masks
from lungsight.evaluation.models import predict_any, predict_shipped
from lungsight.evaluation.predictions import read_scores, split_columns
from lungsight.evaluation.runs import fold_folders, predict_run
from lungsight.metrics import Interval
from lungsight.progress import ProgressCallback, silent
from lungsight.report.claim_answers import fill_in
from lungsight.report.evaluation_report import write_evaluation
from lungsight.report.evaluation_tables import Evaluated
from lungsight.training import load_run


@dataclass(frozen=True)
class Request:
    """What is to be evaluated, and on what.

    Attributes:
        data: a data set.
        run, shipped, predictions, masks: the model; with `run`, `masks` is the lung run to apply.
        compare: a second model, as `predict_any` takes it.
        out: folder of the report; None: the run's, or its `evaluation/` where it was cross-validated.
        columns: our column names -> the table's; 'probability' (and 'id', where that table has it) are those of
            `predictions`.
        external: a second data set.
        audit: folder of the model's audit; None: the run's, where it has one.
        target: what is asked of each image; None: COVID-19, or what the run was trained on.
        uncertain: what a label that is neither yes nor no counts as.
        command: what a reader types to get the same.
    """

    data: Path
    run: Path | None = None
    shipped: bool = False
    predictions: Path | None = None
    masks: Path | None = None
    compare: str | None = None
    out: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    external: Path | None = None
    external_columns: Mapping[str, str] = field(default_factory=dict)
    audit: Path | None = None
    part: str | None = None
    threshold: float | None = None
    cache: Path | None = None
    target: str | None = None
    uncertain: UncertainAs = "drop"
    command: str = ""

    def check(self) -> None:
        """Raise ConfigError where it is not one model, or what goes with it is missing."""
        models = [self.run, self.predictions, self.masks if self.run is None else None]
        if sum(one is not None for one in models) + self.shipped != 1:
            raise ConfigError("give one model: a RUN, --shipped, --predictions CSV or --masks FOLDER")
        if self.out is None and self.run is None:
            raise ConfigError(
                "--out is needed where the model is no run", hint="Name a folder for the report"
            )
        if self.external is not None and self.run is None and not self.shipped:
            raise ConfigError("--external needs a model to run: a RUN or --shipped")

    @property
    def folder(self) -> Path:
        """Where the report goes: a cross-validated folder's own `metrics.json` holds what an export needs."""
        if self.out is not None or self.run is None:
            return self.out or Path()
        return self.run / "evaluation" if fold_folders(self.run) else self.run

    @property
    def is_gate(self) -> bool:
        """Whether the model is a gate's run, which has metrics of its own."""
        return self.run is not None and not fold_folders(self.run) and load_run(self.run)[0].task == "gate"

    def read_data(self) -> Dataset:
        """The data set, its lungs by the convention that may stand behind its path; raises DataError."""
        return self.ask(DataPath.parse(str(self.data)).read(self._columns()[0] or None))

    def ask(self, dataset: Dataset) -> Dataset:
        """The data set with the target that was asked for, or the run's own; raises DataError."""
        if self.target is not None or self.uncertain != "drop":
            return with_target(dataset, COVID if self.target is None else self.target, self.uncertain)
        return dataset if self.run is None else ask_as(self.run, dataset)

    def _columns(self) -> tuple[dict[str, str], dict[str, str]]:
        """Column names of the data set, and of the table of predictions."""
        return (
            (dict(self.columns), {})
            if self.predictions is None
            else split_columns(self.columns, self.predictions)
        )


@dataclass(frozen=True)
class Written:
    """The report, what it says, and what must be said beside it: an audit or a data set that could not be used."""

    report: Path
    evaluated: Evaluated
    warnings: tuple[str, ...] = ()


def write_report(request: Request, dataset: Dataset, *, progress: ProgressCallback = silent) -> Written:
    """Evaluate a model and write its report.

    Raises:
        ConfigError: as `Request.check`.
        DataError: nothing could be evaluated, or the audit given is another model's.
        OutputError: the report cannot be written.
    """
    request.check()
    second = predict_any(Path(request.compare), dataset, cache=request.cache) if request.compare else None
    evaluation = evaluate(_predict(request, dataset, request.part, progress), second)
    external = _external(request, progress)
    audit, left_out = _audit(request)
    facts = provenance.describe(seed=0, data=dataset.fingerprint(), command=request.command)
    items = fill_in(evaluation, dataset, facts, run=request.run, external=bool(external), audited=bool(audit))
    evaluated = Evaluated(evaluation, items, facts, dataset.root.resolve().name, audit, external)
    warnings = [f"{left_out}; left out"] if left_out else []
    if external is not None and external[1] is None:
        warnings.append(f"no external AUROC: {external[0]}")
    return Written(write_evaluation(request.folder, evaluated), evaluated, tuple(warnings))


def _predict(request: Request, dataset: Dataset, part: str | None, progress: ProgressCallback) -> Predictions:
    if request.run is not None:
        return predict_run(
            request.run,
            dataset,
            part=part,
            threshold=request.threshold,
            mask_run=request.masks,
            cache=request.cache,
        )
    if request.predictions is not None:
        return read_scores(
            request.predictions, dataset, threshold=request.threshold, columns=request._columns()[1]
        )
    if request.masks is not None:
        return read_masks(request.masks, dataset, progress=progress)
    return predict_shipped(dataset, threshold=request.threshold, progress=progress)


def _external(request: Request, progress: ProgressCallback) -> tuple[str, Interval | None] | None:
    """What the second data set is, and the AUROC on it; None where no image of it was scored."""
    if request.external is None:
        return None
    table = request.ask(read_dataset(request.external, columns=request.external_columns or None))
    predictions = _predict(request, table, "all", progress)
    if predictions.probability is None:
        raise DataError(
            "gives no external AUROC: the model gives masks, and no score", where=request.external
        )
    name, scored = request.external.resolve().name, int(scorable(predictions).size)
    if not scored:
        # The shipped networks score no image that they take for no frontal chest X-ray.
        return (
            f"{name}: none of its {len(predictions.rows):,} images has both a score and a known class",
            None,
        )
    found: Evaluation = evaluate(predictions)
    return f"{name}, {scored:,} images", found.score.metrics["auroc"] if found.score else None


def _audit(request: Request) -> tuple[Found | None, str]:
    """The model's audit; one that merely lies beside the run, and is not of this model, is left out with the reason."""
    model = "shipped" if request.shipped else request.run or request.predictions
    folder = request.audit or (request.run / "audit" if request.run else None)
    if folder is None or model is None:
        return None, ""
    if request.audit is None and not (folder / "audit.json").is_file():
        return None, ""
    try:
        return read_audit(folder, model_hash(model)), ""
    except DataError as error:
        if request.audit is not None:
            raise
        return None, str(error)
