"""From estimates to two answers. docs/honesty.md gives the rules in prose.

What concerns the data (is a shortcut on offer?) and what concerns the score (is it taken?) are answered apart. The
score's answer rests on experiments alone: the image is changed, and the donor of a property is drawn by lot, so that
sicker patients in one hospital cannot look like a shortcut. Comparisons of scores as they are (within a source,
between sources) are shown beside it and decide nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from lungsight.audit.records import (
    Caveat,
    Change,
    Criterion,
    Leakage,
    Probe,
    Score,
    SourceStep,
    Transplant,
    Verdict,
)
from lungsight.audit.statistics import Estimate, holm
from lungsight.wording import (
    AuditCaveat,
    CriterionKey,
    DataAnswer,
    ImageChange,
    NoPixels,
    Property,
    Region,
    ScoreAnswer,
)

FAMILY_ERROR = 0.025
"""Probability of one false criterion or more among those that decide an answer (Holm), one-sided; two answers."""
NOTABLE = 0.55
"""A significant AUROC below this is too small to speak of."""
RULED_OUT = 0.65
"""'Not found' is said only where the interval rules out a shortcut worth this AUROC."""
NEAR = 0.05
"""A model without lungs is as good as one with the whole image if not more than this below it."""
REMAINING = 0.5
"""'Explained' needs evidence that less than this fraction of the score's advantage over chance is left."""
MIN_SCORED = 0.5
"""An experiment counts where the model still scores this fraction of the changed images."""

_DATA = {
    CriterionKey.DATA_BORDER: Region.BORDER,
    CriterionKey.DATA_BACKGROUND: Region.BACKGROUND,
    CriterionKey.DATA_SOURCE: NoPixels.SOURCE,
    CriterionKey.DATA_SUBSOURCE: NoPixels.SUBSOURCE,
    CriterionKey.DATA_HEADER: NoPixels.HEADER,
    CriterionKey.DATA_PERSON: NoPixels.PERSON,
    CriterionKey.DATA_VIEW: NoPixels.VIEW,
}
_CHANGES = {
    CriterionKey.LUNGS_BLACK: ImageChange.LUNGS_BLACK,
    CriterionKey.BORDER_ALONE: ImageChange.BORDER,
}
_DONORS = {CriterionKey.DONOR_BACKGROUND: Property.BACKGROUND}
_SHOWN = {
    CriterionKey.DONOR_CONTRAST: Property.CONTRAST,
    CriterionKey.DONOR_SHARPNESS: Property.SHARPNESS,
    CriterionKey.DONOR_FRAMING: Property.FRAMING,
}
"""Decide nothing: they are measured around the lungs, where a border or a collimator of one hospital is measured with
them, and then reach into the lungs. In `benchmarks/audit_operating.py` contrast blamed a score of the lungs alone in 6
of 9 data sets in which the border gives the class away."""


def decide(
    score: Score,
    perturbation: Sequence[Change],
    transplants: Sequence[Transplant],
    probes: Sequence[Probe],
    source: SourceStep,
    leakage: Leakage,
) -> Verdict:
    """The two answers, the criteria that they rest on, and what must be read with them.

    Args:
        probes: those of the images' regions and those without pixels.
    """
    data_criteria = data_criteria_of(probes)
    experiments = experiments_of(perturbation, transplants)
    above = _above_chance(score)
    left = _left_without(transplants)
    shown = (*_beside(score), *_other_properties(transplants), *([left] if left else []))
    data = data_answer(data_criteria, {probe.key: probe for probe in probes})
    answer = score_answer(above, experiments, left, score)
    caveats = _caveats(score, answer, experiments, transplants, source, leakage, shown)
    return Verdict(data, answer, (*data_criteria, above, *experiments, *shown), caveats, FAMILY_ERROR)


def data_criteria_of(probes: Sequence[Probe]) -> tuple[Criterion, ...]:
    """The family of the data: what tells the target without a lung."""
    found = {probe.key: probe.pooled for probe in probes}
    return _family({key: found[name] for key, name in _DATA.items() if name in found})


def experiments_of(
    perturbation: Sequence[Change], transplants: Sequence[Transplant]
) -> tuple[Criterion, ...]:
    """The family of the score: what it still tells when the lungs cannot have told it."""
    changes = {change.key: change for change in perturbation}
    donors = {transplant.key: transplant for transplant in transplants}
    family: dict[CriterionKey, Estimate | None] = {}
    for key, change in _CHANGES.items():
        if change in changes:
            one = changes[change]
            family[key] = one.pooled if one.scored >= MIN_SCORED else None
    for key, name in _DONORS.items():
        if name in donors:
            other = donors[name]
            family[key] = other.donor_auroc if other.scored >= MIN_SCORED else None
    return _family(family)


def _family(estimates: Mapping[CriterionKey, Estimate | None]) -> tuple[Criterion, ...]:
    """Criteria of one family; what rests on fewer than ten patients of a class holds as None, and is not tested."""
    usable = {key: one for key, one in estimates.items() if one is not None and one.enough}
    adjusted = holm({str(key): one.p for key, one in usable.items()})
    return tuple(
        Criterion(
            key, adjusted[key] < FAMILY_ERROR and one.auroc.value >= NOTABLE, True, one, None, adjusted[key]
        )
        if key in usable and one is not None
        else Criterion(key, None, True, one)
        for key, one in estimates.items()
    )


def data_answer(criteria: Sequence[Criterion], probes: Mapping[str, Probe]) -> DataAnswer:
    """Whether a shortcut is on offer."""
    holding = [item.estimate.auroc.value for item in criteria if item.holds and item.estimate]
    if holding:
        whole = probes.get(Region.WHOLE)
        if whole is not None and max(holding) >= whole.pooled.auroc.value - NEAR:
            return DataAnswer.AS_GOOD_AS_THE_IMAGE
        return DataAnswer.OFFERED
    by_key = {item.key: item for item in criteria}
    needed = (CriterionKey.DATA_BORDER, CriterionKey.DATA_BACKGROUND)
    return (
        DataAnswer.NOT_FOUND
        if all(_ruled_out(by_key.get(key)) for key in needed)
        else DataAnswer.CANNOT_BE_TOLD
    )


def score_answer(
    above: Criterion, experiments: Sequence[Criterion], left: Criterion | None, score: Score
) -> ScoreAnswer:
    """Whether the shortcut is taken; nothing is explained that is not above chance."""
    if above.holds is None:
        return ScoreAnswer.CANNOT_BE_TOLD
    if not above.holds:
        return ScoreAnswer.NOTHING_TO_EXPLAIN
    if any(item.holds for item in experiments):
        if left is None or left.holds is not False or left.estimate is None:
            return ScoreAnswer.TAKEN
        most = 0.5 + REMAINING * (score.pooled.auroc.value - 0.5)
        return ScoreAnswer.EXPLAINED if left.estimate.auroc.high < most else ScoreAnswer.TAKEN
    background = next((item for item in experiments if item.key == CriterionKey.DONOR_BACKGROUND), None)
    return ScoreAnswer.NOT_FOUND if _ruled_out(background) else ScoreAnswer.CANNOT_BE_TOLD


def _ruled_out(item: Criterion | None) -> bool:
    return (
        item is not None
        and item.holds is False
        and item.estimate is not None
        and item.estimate.auroc.high < RULED_OUT
    )


def _above_chance(score: Score) -> Criterion:
    pooled = score.pooled
    return Criterion(
        CriterionKey.ABOVE_CHANCE, pooled.p < FAMILY_ERROR if pooled.enough else None, True, pooled
    )


def _left_without(transplants: Sequence[Transplant]) -> Criterion | None:
    """What the score still tells of its own image with anybody's background."""
    found = next((one for one in transplants if one.key == Property.BACKGROUND), None)
    if found is None or found.scored < MIN_SCORED or not found.own_auroc.enough:
        return None
    own = found.own_auroc
    return Criterion(CriterionKey.LEFT_WITHOUT, own.p < FAMILY_ERROR, True, own)


def _other_properties(transplants: Sequence[Transplant]) -> tuple[Criterion, ...]:
    donors = {one.key: one.donor_auroc for one in transplants if one.scored >= MIN_SCORED}
    found = []
    for key, name in _SHOWN.items():
        if name in donors:
            one = donors[name]
            holds = one.p < FAMILY_ERROR and one.auroc.value >= NOTABLE if one.enough else None
            found.append(Criterion(key, holds, False, one))
    return tuple(found)


def _beside(score: Score) -> tuple[Criterion, ...]:
    """Comparisons of the scores as they are: shown, and decide nothing."""
    same = score.same_source
    found = [
        Criterion(
            CriterionKey.SAME_SOURCE,
            same.p < FAMILY_ERROR if same.enough else None,
            False,
            same,
            score.pooled,
        )
    ]
    if score.within_finding is not None:
        inside, across = score.within_finding
        known = inside.enough and across.enough
        lower = inside.auroc.high < across.auroc.low if known else None
        found.append(Criterion(CriterionKey.LOWER_WITHIN_FINDING, lower, False, inside, across))
    if score.source_auroc is not None:
        one = score.source_auroc
        apart = not one.auroc.low <= 0.5 <= one.auroc.high if one.enough else None
        found.append(Criterion(CriterionKey.TELLS_SOURCE, apart, False, one))
    return tuple(found)


def _caveats(
    score: Score,
    answer: ScoreAnswer,
    experiments: Sequence[Criterion],
    transplants: Sequence[Transplant],
    source: SourceStep,
    leakage: Leakage,
    shown: Sequence[Criterion],
) -> tuple[Caveat, ...]:
    found = [Caveat(code) for code in source.missing]
    pooled, same = score.pooled, score.same_source
    if not pooled.enough:
        numbers = {"positive": pooled.positive, "negative": pooled.negative}
        found.append(Caveat(AuditCaveat.FEW_PATIENTS, numbers))
    if same.pairs and not same.enough:
        found.append(
            Caveat(AuditCaveat.FEW_SAME_SOURCE, {"positive": same.positive, "negative": same.negative})
        )
    if pooled.auroc.high < 0.5:
        found.append(Caveat(AuditCaveat.REVERSED))
    for one in transplants:
        if one.key == Property.BACKGROUND and one.scored < 1:
            found.append(Caveat(AuditCaveat.REFUSED, {"percent": math.ceil(100 * (1 - one.scored))}))
    measured = any(item.holds is not None for item in experiments)
    if answer is ScoreAnswer.CANNOT_BE_TOLD and pooled.enough and measured:
        found.append(Caveat(AuditCaveat.WIDE))
    observed = (CriterionKey.LOWER_WITHIN_FINDING, CriterionKey.TELLS_SOURCE)
    if any(item.holds for item in shown if item.key in observed):
        found.append(Caveat(AuditCaveat.SEVERITY))
    if not leakage.known:
        found.append(Caveat(AuditCaveat.SPLIT_UNKNOWN))
    elif leakage.patients or leakage.pairs:
        numbers = {"images": leakage.images, "held_out": leakage.held_out, "pairs": len(leakage.pairs)}
        found.append(Caveat(AuditCaveat.LEAKAGE, numbers))
    return tuple(found)
