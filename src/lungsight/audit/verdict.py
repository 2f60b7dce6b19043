"""From figures to words: eight rules, four steps. docs/honesty.md gives the rules in prose.

A rule holds only where the whole 95 % interval is on its side, so that chance on few images is no sign.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lungsight.audit.perturb import SWAP
from lungsight.audit.records import Leakage, Perturbed, Probe, Score, Sign, SourceStage, Verdict
from lungsight.metrics import Interval

CLEAR = 0.6
"""An AUROC whose interval lies above this is clearly better than chance."""
HALF = 0.5
"""Share of the whole image's advantage over chance, which is (AUROC - 0.5)."""
NEAR = 0.05
"""The source alone explains a score that is not more than this above it."""

STEPS = (
    "no sign of a shortcut found",
    "the data offer a shortcut; the score is not shown to take it",
    "the score takes a shortcut in part",
    "the score is explained by the source",
)


def judge(
    score: Score,
    perturbed: Sequence[Perturbed],
    probes: Sequence[Probe],
    source: SourceStage,
    leakage: Leakage,
) -> Verdict:
    """The verdict and the rules that it rests on.

    The data: D1 a probe without lungs does at least half as well as one on the whole image; D2 the source alone
    tells the classes apart; D3 a probe without lungs does as well as the score itself. The score: S1 it still
    works with black lungs or on the border alone; S2 it follows the outside rather than the lungs when the two are
    of different sources; S3 it tells sources apart within one class, where the source gives the class away
    (elsewhere that is a lack of robustness, no shortcut). Within sources: W1 it is clearly lower there than pooled;
    W2 it is not shown to work there.

    Step 4: W2, the source alone (D2) is as good as the score, and one of D3, S1, S2, S3: nothing about the score
    is left for the lungs to explain. Step 3: one of S1, S2, S3, W1. Step 2: D1 or D2. Step 1: none of these.
    """
    by_probe = {probe.key: probe for probe in probes}
    by_change = {change.key: change for change in perturbed}
    signs = (
        _without_lungs(by_probe),
        _source_alone(score),
        _as_good(by_probe, score),
        _still_works(by_change),
        _follows(by_change[SWAP].follows),
        _tells_source(score),
        _lower_within(score),
        _nothing_within(score),
    )
    holds = {sign.key: sign.holds for sign in signs}
    takes = [key for key in ("S1", "S2", "S3") if holds[key]]
    explained = score.source_alone >= score.pooled.value - NEAR
    if holds["W2"] and holds["D2"] and explained and (takes or holds["D3"]):
        step = 4
    elif takes or holds["W1"]:
        step = 3
    elif holds["D1"] or holds["D2"]:
        step = 2
    else:
        step = 1
    reasons = tuple(f"{sign.rule}: {sign.figures}" for sign in signs if sign.holds)
    return Verdict(step, STEPS[step - 1], reasons, signs, _caveats(score, signs, source, leakage))


def _without_lungs(probes: dict[str, Probe]) -> Sign:
    whole = probes["whole"].pooled
    found: list[str] = []
    holds = False
    for key in ("border", "outside"):
        pooled = probes[key].pooled
        enough = pooled.value - 0.5 >= HALF * max(whole.value - 0.5, 0)
        holds = holds or (_above(pooled, CLEAR) and enough)
        found.append(f"{probes[key].words} {pooled}")
    rule = "A probe that sees no lung does at least half as well as one on the whole image"
    return Sign("D1", rule, holds, f"{', '.join(found)}, {probes['whole'].words} {whole}")


def _source_alone(score: Score) -> Sign:
    figures = f"AUROC of the source alone {score.source_alone:.3f}"
    return Sign("D2", "Knowing the source alone tells the classes apart", score.source_alone > CLEAR, figures)


def _as_good(probes: dict[str, Probe], score: Score) -> Sign:
    best = max((probes[key] for key in ("border", "outside")), key=lambda probe: probe.pooled.value)
    holds = _above(best.pooled, CLEAR) and best.pooled.value >= score.pooled.value - NEAR
    rule = "A probe that sees no lung does as well as the score itself"
    return Sign("D3", rule, holds, f"{best.words} {best.pooled}, the score {score.pooled}")


def _still_works(changes: dict[str, Perturbed]) -> Sign:
    holds, found = False, []
    for key in ("lungs-black", "border"):
        change = changes[key]
        if math.isnan(change.pooled.value):
            found.append(f"{change.words}: not scored")
            continue
        holds = holds or _above(change.pooled, CLEAR)
        found.append(f"{change.words} {change.pooled}")
    return Sign("S1", "The score still tells the classes apart without lungs", holds, ", ".join(found))


def _follows(follows: Interval | None) -> Sign:
    rule = "With lungs and outside of different sources, the score follows the outside"
    if follows is None or math.isnan(follows.low):
        return Sign("S2", rule, None, "too few of such images are scored")
    figures = f"rank correlation with the outside's score less that with the lungs' score {follows}"
    return Sign("S2", rule, follows.low > 0, figures)


def _tells_source(score: Score) -> Sign:
    rule = "The score tells two sources apart among images of one class, and the source gives the class away"
    if score.source_auroc is None:
        return Sign("S3", rule, None, score.tells_source_words)
    holds = _above(score.source_auroc, CLEAR) and score.source_alone > CLEAR
    return Sign("S3", rule, holds, f"AUROC {score.source_auroc} ({score.tells_source_words})")


def _lower_within(score: Score) -> Sign:
    rule = "Within one source the score is clearly worse than pooled"
    same = score.same_source
    if same is None or math.isnan(same.high) or math.isnan(score.pooled.low):
        return Sign("W1", rule, None, "no source has both classes")
    holds = same.high < score.pooled.low
    return Sign("W1", rule, holds, f"same source {same}, pooled {score.pooled}")


def _nothing_within(score: Score) -> Sign:
    rule = "Within one source the score is not shown to be better than chance"
    same = score.same_source
    if same is None or math.isnan(same.low):
        return Sign("W2", rule, True, "no source has both classes, so it cannot be")
    return Sign("W2", rule, same.low <= 0.5, f"same source {same}, {score.same_source_images} images")


def _above(interval: Interval, limit: float) -> bool:
    return not math.isnan(interval.low) and interval.low > limit


def _caveats(score: Score, signs: Sequence[Sign], source: SourceStage, leakage: Leakage) -> tuple[str, ...]:
    found = [
        f"Could not be told: {sign.rule.lower()} ({sign.figures})." for sign in signs if sign.holds is None
    ]
    found += source.why_not
    if score.pooled.note:
        found.append(f"The pooled AUROC: {score.pooled.note}.")
    if score.same_source is not None and score.same_source.note:
        found.append(f"The same-source AUROC: {score.same_source.note}.")
    if score.pooled.low <= 0.5:
        found.append("The score is not shown to be better than chance at all, so there is little to explain.")
    if not leakage.known:
        found.append("Which images the model learned from is not known, so leakage could not be checked.")
    elif leakage.patients or leakage.pairs:
        found.append(
            f"{leakage.images} of {leakage.held_out} held-out images are of patients that the model learned from, "
            f"and {len(leakage.pairs)} pairs of images across the split look the same: the score is flattered."
        )
    return tuple(found)
