"""The audit's report: `audit.html`, `audit.json` and `tables/`, the two answers first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lungsight.audit.audit import Audit
from lungsight.audit.data_audit import FoundInData
from lungsight.audit.perturb import CHANGES
from lungsight.audit.records import Found, Pair, Probe
from lungsight.audit.regions import REGIONS
from lungsight.audit.statistics import patients_of, truth_of
from lungsight.audit.transplant import PROPERTIES, draw_donors
from lungsight.files import write_bytes, write_text
from lungsight.records import to_json
from lungsight.report import charts
from lungsight.report.audit_tables import (
    audit_tables,
    caveat_words,
    caveats,
    data_table,
    measured,
    probe_words,
)
from lungsight.report.content import Measure
from lungsight.report.image_tiles import plain
from lungsight.report.page import Block, Page, Tile
from lungsight.report.tables import Table
from lungsight.wording import (
    DataAnswer,
    ImageChange,
    ScoreAnswer,
    say,
)

PAIRS_SHOWN = 8


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


def write_data_audit(out: str | Path, found: FoundInData) -> Path:
    """Write `data-audit.json`, `data-audit.html` and `tables/` into the folder `out`; returns the page's path.

    Raises:
        OutputError: a file cannot be written.
    """
    folder = Path(out)
    table, best = data_table(found), found.best
    write_bytes(folder / "data-audit.json", to_json(found))
    write_text(folder / "tables" / "data-audit.csv", table.to_csv())
    page = Page(
        "What does the data set tell without lungs?",
        f"{found.images:,} images, {found.patients:,} patients; {found.pixels:,} decoded; target {found.target}.",
    )
    block = page.section("The figure to beat")
    block.key_figures(
        [
            ("Best AUROC that knows nothing about lungs", measured(best.pooled), "pooled"),
            ("Is a shortcut on offer?", _SHORT[found.answer], say(found.answer)),
        ],
        digits=3,
    )
    block.table(table)
    if found.notes:
        block.points([caveat_words(one) for one in found.notes])
    leaks = found.leakage
    across = "the parts of the table's split" if leaks.known else "patients"
    block.text(
        f"{len(leaks.pairs):,} pairs of images that look the same lie across {across}; "
        f"{len(leaks.patients):,} patients are in several parts."
    )
    facts = found.provenance
    page.provenance(
        {key: facts.get(key) for key in ("lungsight", "commit", "seed", "data_fingerprint", "created")}
    )
    return page.write(folder / "data-audit.html")


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
    if "calibration" in tables or "subgroups" in tables:
        block = page.section("The score itself: calibration and subgroups")
        for name in ("calibration", "subgroups"):
            if name in tables:
                block.table(tables[name])
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
    if not len(audit.audited.images):
        block.text("The images were not read, so that copies of a film were not looked for.")
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
            "Images that look the same: see `lungsight.duplicates`.",
        ]
    )
    if command := found.provenance.get("command"):
        block.text("The same again:")
        block.code(str(command))
