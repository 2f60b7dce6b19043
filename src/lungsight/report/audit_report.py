"""The audit's report: `audit.html`, `audit.json` and `tables/`, the two answers first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lungsight.audit.audit import Audit
from lungsight.audit.perturb import CHANGES
from lungsight.audit.records import Caveat, Criterion, Found, Pair, Probe
from lungsight.audit.regions import REGIONS
from lungsight.audit.statistics import Estimate, patients_of, truth_of
from lungsight.audit.transplant import PROPERTIES, draw_donors
from lungsight.files import write_bytes, write_text
from lungsight.records import to_json
from lungsight.report import charts
from lungsight.report.content import Measure
from lungsight.report.image_tiles import plain
from lungsight.report.page import Block, Page, Tile
from lungsight.report.tables import Cell, Table
from lungsight.wording import (
    AuditCaveat,
    DataAnswer,
    ImageChange,
    NoPixels,
    Property,
    Region,
    ScoreAnswer,
    say,
)

PAIRS_SHOWN = 8
_HOLDS = {None: "cannot be told", True: "yes", False: "no"}
_METHODS = {
    "network": "small network",
    "logistic": "logistic regression",
    "ridge": "ridge regression on thumbnails",
    "fraction": "fraction of the target in each category",
    "forest": "random forest",
}


def write_audit(out: str | Path, audit: Audit) -> Path:
    """Write everything into the folder `out`.

    Returns:
        The path of `audit.html`.

    Raises:
        OutputError: a file cannot be written.
    """
    folder = Path(out)
    tables = audit_tables(audit.found)
    write_bytes(folder / "audit.json", to_json(audit.found))
    for name, table in tables.items():
        write_text(folder / "tables" / f"{name}.csv", table.to_csv())
    return _page(audit, tables).write(folder / "audit.html")


def answers(found: Found) -> list[str]:
    """The two answers as sentences."""
    return [f"{text[0].upper()}{text[1:]}." for text in (say(found.verdict.data), say(found.verdict.score))]


def caveats(found: Found) -> list[str]:
    """What must be read with them, as sentences."""
    return [_caveat(one) for one in (*found.notes, *found.verdict.caveats)]


def _caveat(one: Caveat) -> str:
    return say(AuditCaveat(one.code)).format(**one.numbers)


def probe_words(key: str) -> str:
    """What a probe sees, in words."""
    return say(NoPixels(key)) if key in set(NoPixels) else say(Region(key))


def _measure(one: Estimate | None) -> Cell:
    return None if one is None or np.isnan(one.auroc.value) else Measure.of(one.auroc)


def _row(what: str, probe: Probe) -> tuple[Cell, ...]:
    host = probe.same_subsource
    return (
        what,
        _measure(probe.pooled),
        _measure(probe.same_source),
        probe.same_source.pairs or None,
        _measure(host),
        host.pairs or None,
    )


_NOTES = (
    "0.5 is chance. Within: only pairs of images of one source, or of one sub-source, are compared; their number "
    "stands beside. A dash: no such pair. A model without lungs that does as well as the score is the mark of a "
    "shortcut."
)


def audit_tables(found: Found) -> dict[str, Table]:
    """Every table of the report, by the name of its CSV."""
    score = found.score
    head = ("What is seen", "Pooled", "Within source", "Pairs", "Within sub-source", "Pairs there")
    rows: list[tuple[Cell, ...]] = [
        (
            f"The score itself ({found.model})",
            _measure(score.pooled),
            _measure(score.same_source),
            score.same_source.pairs or None,
            _measure(score.same_subsource),
            score.same_subsource.pairs or None,
        )
    ]
    rows += [_row(f"No pixel: {probe_words(probe.key)}", probe) for probe in found.no_pixels]
    rows += [_row(f"Trained on {probe_words(probe.key)}", probe) for probe in found.retraining]
    title = f"AUROC for {found.target}, with 95 % intervals over patients"
    tables = {
        "first": Table(title, head, rows, digits=3, notes=_NOTES),
        "criteria": Table(
            "The criteria of the two answers",
            ("Criterion", "Decides", "Holds", "AUROC", "Beside", "Adjusted p"),
            [_criterion(one) for one in found.verdict.criteria],
            digits=3,
            notes="p: one-sided, against an AUROC of 0.5, adjusted within its answer by Holm's procedure.",
        ),
    }
    if found.perturbation:
        tables["perturbation"] = Table(
            f"The score after a change to the images ({found.perturbation[0].images} held-out images)",
            (
                "Change",
                "Scored",
                "AUROC",
                "Within source",
                "Mean change",
                "Flips",
                "Target moves",
                "Others move",
            ),
            [
                (
                    say(ImageChange(one.key)),
                    f"{one.scored:.0%}",
                    _measure(one.pooled),
                    _measure(one.same_source),
                    one.deviation,
                    f"{one.flipped:.0%}" if np.isfinite(one.flipped) else None,
                    one.positive_shift,
                    one.negative_shift,
                )
                for one in found.perturbation
            ],
            digits=3,
            notes="Scored: images that the model still scores. Flips: decisions that change. Moves: mean change.",
        )
    if found.transplants:
        tables["transplants"] = Table(
            f"The score with a property of another image, drawn by lot ({found.transplants[0].images} images)",
            (
                "Given",
                "Scored",
                "AUROC for the donor's class",
                "AUROC for its own class",
                "Follows donor",
                "Follows own",
            ),
            [
                (
                    say(Property(one.key)),
                    f"{one.scored:.0%}",
                    _measure(one.donor_auroc),
                    _measure(one.own_auroc),
                    one.background_dependence,
                    one.own_dependence,
                )
                for one in found.transplants
            ],
            digits=3,
            notes="The donor is drawn without regard to the image: an AUROC for its class above 0.5 can only come from "
            "the property. Follows: Spearman correlation with the unchanged score of the donor, and with its own.",
        )
    methods = [
        (probe_words(one.key), _METHODS[one.method], one.images)
        for one in (*found.retraining, *found.no_pixels)
    ]
    tables["models"] = Table("The models of the first table", ("Sees", "Kind", "Images"), methods)
    lines = _source_lines(found)
    if lines:
        tables["source"] = Table("Sources", ("What", "Images", "AUROC"), lines, digits=3)
    if found.leakage.pairs:
        tables["near-duplicates"] = Table(
            "Images that look the same",
            ("First", "Second", "Parts", "Same patient", "Agreement"),
            [
                (
                    pair.first,
                    pair.second,
                    " / ".join(pair.parts),
                    "yes" if pair.same_patient else "no",
                    pair.agreement,
                )
                for pair in found.leakage.pairs
            ],
            digits=3,
        )
    return tables


def _criterion(one: Criterion) -> tuple[Cell, ...]:
    return (
        say(one.key),
        "yes" if one.decides else "no",
        _HOLDS[one.holds],
        _measure(one.estimate),
        _measure(one.beside),
        one.adjusted_p,
    )


def _source_lines(found: Found) -> list[tuple[Cell, ...]]:
    lines: list[tuple[Cell, ...]] = [
        (
            f"{one.first} told from {one.second} by {say(Region(one.region))}, images of '{one.finding}'",
            one.images,
            _measure(one.auroc),
        )
        for one in found.source.tests
    ]
    if found.score.source_auroc is not None:
        text = "Two sources told apart by the score, images of one finding"
        lines.append((text, found.score.source_auroc.auroc.n, _measure(found.score.source_auroc)))
    for one in found.source.left_out:
        what = f"in {one.name}, " if one.name else ""
        kind = "that source" if one.kind == "source" else "the image's sub-source"
        text = f"{found.target} {what}from {say(Region(one.region))}, trained without {kind}"
        lines.append((text, one.images, _measure(one.auroc)))
    return lines


def _page(audit: Audit, tables: Mapping[str, Table]) -> Page:
    found = audit.found
    page = Page(
        f"Is the score about lungs? The shortcut audit of {found.model}",
        f"{found.score.images:,} images ({found.score.part}), {found.score.patients:,} patients; "
        f"data {audit.audited.dataset.root.name}; target {found.target}.",
    )
    _verdict(page.section("Two answers"), found, tables)
    if found.perturbation:
        _changes(page.section("What moves the score"), audit, tables)
    if found.retraining:
        _retraining(page.section("What can be had without lungs"), audit)
    if "source" in tables:
        page.section("What the sources give away").table(tables["source"])
    _leakage(page.section("What is on both sides of the split"), audit, tables)
    _origin(page.section("How the audit is done"), found)
    facts = found.provenance
    page.provenance(
        {key: facts.get(key) for key in ("lungsight", "commit", "seed", "data_fingerprint", "created")}
    )
    return page


_SHORT: Mapping[DataAnswer | ScoreAnswer, str] = {
    DataAnswer.CANNOT_BE_TOLD: "cannot be told",
    DataAnswer.NOT_FOUND: "not found",
    DataAnswer.OFFERED: "yes",
    DataAnswer.AS_GOOD_AS_THE_IMAGE: "yes",
    ScoreAnswer.CANNOT_BE_TOLD: "cannot be told",
    ScoreAnswer.NOTHING_TO_EXPLAIN: "nothing to explain",
    ScoreAnswer.NOT_FOUND: "not found",
    ScoreAnswer.TAKEN: "yes",
    ScoreAnswer.EXPLAINED: "yes, wholly",
}


def _verdict(block: Block, found: Found, tables: Mapping[str, Table]) -> None:
    verdict = found.verdict
    block.key_figures(
        [
            ("Is a shortcut on offer?", _SHORT[verdict.data], say(verdict.data)),
            ("Is it taken?", _SHORT[verdict.score], say(verdict.score)),
        ]
    )
    block.table(tables["first"])
    if read_with := caveats(found):
        block.heading("Read with it")
        block.points(read_with)
    block.table(tables["criteria"])
    with block.details("The answers there are, and how often they are wrong") as inner:
        inner.points([say(answer) for answer in (*DataAnswer, *ScoreAnswer)])
        inner.text(
            f"Where no shortcut is there, the probability of the answer that one is offered, and of the answer that "
            f"one is taken, is at most {verdict.family_error:.1%} each. 'Not found' is no proof that there is none."
        )


def _changes(block: Block, audit: Audit, tables: Mapping[str, Table]) -> None:
    found = audit.found
    block.text(
        "The audited score on changed images. A score about lungs falls to chance when the lungs are black, and cannot "
        "tell whose background an image was given."
    )
    rows = [
        (say(ImageChange(one.key)), Measure.of(one.pooled.auroc), one.images)
        for one in found.perturbation
        if np.isfinite(one.pooled.auroc.value)
    ]
    if rows:
        block.drawing(
            charts.forest(rows, "AUROC of the score after the change", found.score.pooled.auroc.value),
            "AUROC after each change; the dotted line is the score on the images as they are.",
            "Forest plot of the AUROC after each change.",
            wide=True,
        )
    block.table(tables["transplants"])
    block.table(tables["perturbation"])
    block.tiles(_changed(audit), "One image and its changes, with the score of each.")


def _changed(audit: Audit) -> list[Tile]:
    audited = audit.audited
    scored = np.flatnonzero(np.isfinite(audit.values))
    rows = [audited.rows[i] for i in scored]
    positive = [i for i in scored if audited.rows[i].positive]
    # The median image with the target: neither the clearest nor the worst.
    index = sorted(positive, key=lambda i: audit.values[i])[len(positive) // 2]
    image, mask = audited.images[index], audited.masks[index]
    donors = draw_donors(truth_of(rows), patients_of(rows), audit.found.settings.seed)
    donor = scored[donors[int(np.flatnonzero(scored == index)[0])]]
    images = [("as it is", image, mask)]
    images += [(say(key), *change(image, mask)) for key, change in CHANGES.items()]
    images += [
        (say(key), *give(image, mask, audited.images[donor], audited.masks[donor]))
        for key, give in PROPERTIES.items()
    ]
    stack = np.stack([shown for _, shown, _ in images])
    if audited.score is None:
        return []
    scores = audited.score(stack, np.stack([lungs for _, _, lungs in images]), np.full(len(images), index))
    return [
        Tile(
            plain(shown),
            f"X-ray, {name}.",
            f"{name}: " + (f"{score:.3f}" if np.isfinite(score) else "not scored"),
        )
        for (name, shown, _), score in zip(images, scores, strict=True)
    ]


def _retraining(block: Block, audit: Audit) -> None:
    found = audit.found
    block.text(
        "Small models, each trained on one region of the images or on no pixel at all and tried on patients that it "
        f"did not see ({found.settings.folds} folds; networks at {found.settings.px} pixels). Where a region without "
        "lungs does well, the data offer a shortcut to any model."
    )
    for label, pick in (("Pooled AUROC", "pooled"), ("AUROC within one source", "same_source")):
        probes: Sequence[Probe] = (*found.retraining, *found.no_pixels)
        rows = [
            (probe_words(one.key), Measure.of(getattr(one, pick).auroc), one.images)
            for one in probes
            if np.isfinite(getattr(one, pick).auroc.value)
        ]
        overall = getattr(found.score, pick).auroc.value
        if rows:
            block.drawing(
                charts.forest(rows, label, overall if np.isfinite(overall) else None),
                f"{label} of the models; the dotted line is the audited score.",
                f"Forest plot of the models' {label}.",
                wide=True,
            )
    audited = audit.audited
    index = int(np.flatnonzero(np.isfinite(audit.values))[0])
    tiles = [
        Tile(
            plain(cut(audited.images[index], audited.masks[index])),
            f"X-ray, {probe_words(key)}.",
            probe_words(key),
        )
        for key, cut in REGIONS.items()
    ]
    block.tiles(tiles, "The regions that the models are trained on.", columns=5)


def _leakage(block: Block, audit: Audit, tables: Mapping[str, Table]) -> None:
    found = audit.found.leakage
    if found.known:
        block.text(
            f"{len(found.patients):,} patients are on both sides; {found.images:,} of {found.held_out:,} held-out "
            f"images are theirs. {len(found.pairs):,} pairs of images across the split look the same."
        )
    else:
        block.text(
            f"Which images the model was trained on is not known. {len(found.pairs):,} pairs of images of different "
            "patients look the same: a split by patient does not keep them apart."
        )
    if found.pairs:
        block.tiles(
            _pair_tiles(audit, found.pairs[:PAIRS_SHOWN]), "Pairs that look the same, the most alike first."
        )
        with block.details(f"All {len(found.pairs)} pairs") as inner:
            inner.table(tables["near-duplicates"])


def _pair_tiles(audit: Audit, pairs: tuple[Pair, ...]) -> list[Tile]:
    index = {row.id: number for number, row in enumerate(audit.audited.rows)}
    tiles = []
    for number, pair in enumerate(pairs, 1):
        for name, part in zip((pair.first, pair.second), (*pair.parts, "", ""), strict=False):
            if name in index:
                about = f"pair {number}: {name}" + (f" ({part})" if part else "")
                tiles.append(Tile(plain(_image(audit, index[name])), f"X-ray, {about}.", about))
    return tiles


def _image(audit: Audit, index: int) -> NDArray[np.uint8]:
    return np.asarray(audit.audited.images[index], np.uint8)


def _origin(block: Block, found: Found) -> None:
    settings = found.settings
    block.points(
        [
            "A criterion holds where the one-sided p-value, adjusted for all criteria of its answer (Holm), is below "
            f"{found.verdict.family_error:g} and the AUROC is 0.55 or more. Intervals: DeLong, logit scale, clustered "
            "by patient.",
            f"Probes: {settings.px} pixels, {settings.folds} folds, at most {settings.images:,} images, the commonest "
            f"source and class subsampled first; changes: at most {settings.perturbed:,} held-out images.",
            "Near-duplicates: two 64-bit hashes (differences, frequencies) propose, the correlation of thumbnails "
            "decides.",
        ]
    )
    if command := found.provenance.get("command"):
        block.text("The same again:")
        block.code(str(command))
