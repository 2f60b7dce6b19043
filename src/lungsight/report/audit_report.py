"""The audit's report: `audit.html`, `audit.json` and `tables/`, the verdict first."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lungsight.audit.audit import Audit
from lungsight.audit.perturb import CHANGES, SWAP, SWAP_WORDS, donors, swap_outside
from lungsight.audit.records import Pair
from lungsight.audit.verdict import STEPS
from lungsight.audit.views import VIEWS
from lungsight.files import write_json, write_text
from lungsight.metrics import Interval
from lungsight.report import charts
from lungsight.report.content import Measure
from lungsight.report.image_tiles import plain
from lungsight.report.page import Block, Page, Tile
from lungsight.report.tables import Cell, Table

PAIRS_SHOWN = 8
_ANSWERS = {None: "cannot be told", True: "yes", False: "no"}


def write_audit(out: str | Path, audit: Audit) -> Path:
    """Write everything into the folder `out`.

    Returns:
        The path of `audit.html`.

    Raises:
        OutputError: a file cannot be written.
    """
    folder = Path(out)
    tables = _tables(audit)
    write_json(folder / "audit.json", audit.to_dict())
    for name, table in tables.items():
        write_text(folder / "tables" / f"{name}.csv", table.to_csv())
    return _page(audit, tables).write(folder / "audit.html")


def _without_empty(table: Table, name: str) -> Table:
    """The table, less the column `name` where nothing stands in it."""
    place = list(table.header).index(name)
    if any(row[place] is not None for row in table.rows):
        return table
    rows = [[cell for i, cell in enumerate(row) if i != place] for row in table.rows]
    return dataclasses.replace(table, header=[one for one in table.header if one != name], rows=rows)


def _measure(interval: Interval | None) -> Measure | None:
    return None if interval is None else Measure.of(interval)


def _tables(audit: Audit) -> dict[str, Table]:
    score = audit.score
    probes = {probe.key: probe for probe in audit.probes}
    rows: list[tuple[Cell, ...]] = [
        (f"The score itself ({score.model})", _measure(score.pooled), _measure(score.same_source)),
        ("The source alone, no image", score.source_alone, 0.5 if score.same_source else None),
    ]
    rows += [
        (
            f"A network trained on: {probes[key].words}",
            Measure.of(probes[key].pooled),
            _measure(probes[key].same_source),
        )
        for key in ("whole", "border", "outside", "lungs-black", "lungs")
    ]
    tables = {
        "first": Table(
            "AUROC for COVID-19, with 95 % intervals over patients",
            ("What is seen", "Pooled", "Same source"),
            rows,
            digits=3,
            notes="0.5 is chance. A part of the image without lungs that does as well as the score is the mark of a "
            "shortcut. Same source: only pairs of images of one source count; a dash where no source has both classes.",
        ),
        "rules": Table(
            "The rules of the verdict",
            ("Rule", "What", "Holds", "Figures"),
            [
                (sign.key, sign.rule, _ANSWERS[sign.holds], sign.figures)
                for sign in audit.verdict.signs
            ],
        ),
        "perturbation": Table(
            f"The score after a change to the images ({audit.perturbed[0].images} held-out images)",
            ("Change", "Scored", "AUROC", "Same source", "Mean change", "Flips", "COVID-19 moves", "Others move"),
            [
                (
                    one.words,
                    f"{one.scored:.0%}",
                    Measure.of(one.pooled),
                    _measure(one.same_source),
                    one.change,
                    f"{one.flipped:.0%}" if np.isfinite(one.flipped) else None,
                    one.covid_shift,
                    one.other_shift,
                )
                for one in audit.perturbed
            ],
            digits=3,
            notes="Scored: images that the model still scores. Flips: decisions that change. Moves: mean change.",
        ),
        "retraining": Table(
            "What small models learn from parts of the images, patients apart",
            ("Part", "Model", "Images", "Pooled AUROC", "Same-source AUROC"),
            [
                (one.words, one.method, one.images, Measure.of(one.pooled), _measure(one.same_source))
                for one in audit.probes
            ],
            digits=3,
        ),
    }  # fmt: skip
    for name, column in (("perturbation", "Same source"), ("retraining", "Same-source AUROC")):
        tables[name] = _without_empty(tables[name], column)
    if audit.source.tests or audit.source.left_out:
        lines: list[tuple[Cell, ...]] = [
            (f"Sources told apart by {one.view}: {one.words}", one.images, Measure.of(one.auroc))
            for one in audit.source.tests
        ]
        if score.source_auroc is not None:
            text = f"Sources told apart by the score: {score.tells_source_words}"
            lines.append((text, score.source_auroc.n, Measure.of(score.source_auroc)))
        lines += [
            (f"COVID-19 in {one.source}, by a network trained without it", one.images, Measure.of(one.auroc))
            for one in audit.source.left_out
        ]
        tables["source"] = Table("Sources", ("What", "Images", "AUROC"), lines, digits=3)
    if audit.leakage.pairs:
        tables["near-duplicates"] = Table(
            "Images that look the same",
            ("First", "Second", "Parts", "Same patient", "Bits apart of 64", "Correlation"),
            [
                (
                    pair.first,
                    pair.second,
                    " / ".join(pair.parts),
                    "yes" if pair.same_patient else "no",
                    pair.distance,
                    pair.correlation,
                )
                for pair in audit.leakage.pairs
            ],
            digits=3,
        )
    return tables


def _page(audit: Audit, tables: Mapping[str, Table]) -> Page:
    score = audit.score
    page = Page(
        f"Is the score about lungs? The shortcut audit of {score.model}",
        f"{score.images:,} images ({score.part}), {score.patients:,} patients; data {audit.target.dataset.root.name}.",
    )
    _verdict(page.section("The verdict"), audit, tables)
    _perturbation(page.section("What moves the score"), audit, tables["perturbation"])
    _retraining(page.section("What can be had without lungs"), audit, tables["retraining"])
    _source(page.section("What the sources give away"), audit, tables)
    _leakage(page.section("What is on both sides of the split"), audit, tables)
    _origin(page.section("How the audit is done"), audit)
    facts = audit.provenance
    page.provenance(
        {key: facts.get(key) for key in ("lungsight", "commit", "seed", "data_fingerprint", "created")}
    )
    return page


def _verdict(block: Block, audit: Audit, tables: Mapping[str, Table]) -> None:
    verdict = audit.verdict
    block.key_figures([("Verdict", f"{verdict.step} of 4", verdict.words)])
    block.table(tables["first"])
    if verdict.reasons:
        block.heading("Because")
        block.points([f"{reason}." for reason in verdict.reasons])
    if verdict.caveats or audit.target.notes:
        block.heading("Read with it")
        block.points([*audit.target.notes, *verdict.caveats])
    with block.details("All rules, and the four steps") as inner:
        inner.table(tables["rules"])
        inner.points([f"{number}: {words}" for number, words in enumerate(STEPS, 1)])


def _perturbation(block: Block, audit: Audit, table: Table) -> None:
    block.text(
        "The audited score on changed images. A score about lungs falls to chance when the lungs are black, and hardly "
        "moves when the rest is changed."
    )
    rows = [
        (one.words, Measure.of(one.pooled), one.images)
        for one in audit.perturbed
        if np.isfinite(one.pooled.value)
    ]
    if rows:
        block.drawing(
            charts.forest(rows, "AUROC of the score after the change", audit.score.pooled.value),
            "AUROC after each change; the dotted line is the score on the images as they are.",
            "Forest plot of the AUROC after each change.",
            wide=True,
        )
    block.table(table)
    block.tiles(_changed(audit), "One image and its changes, with the score of each.")


def _changed(audit: Audit) -> list[Tile]:
    target = audit.target
    scored = np.flatnonzero(np.isfinite(audit.values))
    positive = [i for i in scored if target.rows[i].covid]
    # The median COVID-19 image: neither the clearest nor the worst.
    place = sorted(positive, key=lambda i: audit.values[i])[len(positive) // 2]
    image, mask = target.images[place], target.masks[place]
    rows = [target.rows[i] for i in scored]
    donor = scored[donors(rows, audit.settings.seed)[0][int(np.flatnonzero(scored == place)[0])]]
    pictures = [("as it is", image, mask)]
    pictures += [(words, *change(image, mask)) for words, change in CHANGES.values()]
    swapped = swap_outside(image, mask, target.images[donor], target.masks[donor])
    words = next((one.words for one in audit.perturbed if one.key == SWAP), SWAP_WORDS)
    pictures.insert(2, (words, swapped, mask))
    stack = np.stack([picture for _, picture, _ in pictures])
    scores = target.score(stack, np.stack([lungs for _, _, lungs in pictures]), np.full(len(pictures), place))
    return [
        Tile(
            plain(picture),
            f"X-ray, {name}.",
            f"{name}: " + (f"{score:.3f}" if np.isfinite(score) else "not scored"),
        )
        for (name, picture, _), score in zip(pictures, scores, strict=True)
    ]


def _retraining(block: Block, audit: Audit, table: Table) -> None:
    block.text(
        "A small network with four convolutions, and logistic regression for the last two, each trained anew on one "
        f"part of the images at {audit.settings.px} pixels and tried on patients that it did not see "
        f"({audit.settings.folds} folds). Where a part without lungs does well, the data offer a shortcut to any model."
    )
    for label, overall, found in (
        ("Pooled AUROC", audit.score.pooled, [one.pooled for one in audit.probes]),
        ("Same-source AUROC", audit.score.same_source, [one.same_source for one in audit.probes]),
    ):
        rows = [
            (one.words, Measure.of(interval), one.images)
            for one, interval in zip(audit.probes, found, strict=True)
            if interval is not None and np.isfinite(interval.value)
        ]
        if rows:
            block.drawing(
                charts.forest(rows, label, overall.value if overall else None),
                f"{label} of the probes; the dotted line is the audited score.",
                f"Forest plot of the probes' {label}.",
                wide=True,
            )
    block.table(table)
    target = audit.target
    place = int(np.flatnonzero(np.isfinite(audit.values))[0])
    tiles = [
        Tile(plain(cut(target.images[place], target.masks[place])), f"X-ray, {words}.", words)
        for words, cut in VIEWS.values()
    ]
    block.tiles(tiles, "The parts that the networks are trained on.", columns=5)


def _source(block: Block, audit: Audit, tables: Mapping[str, Table]) -> None:
    score = audit.score
    same = str(score.same_source) if score.same_source else "cannot be measured"
    block.text(
        f"Knowing nothing but the source has an AUROC of {score.source_alone:.3f}. The score has {score.pooled} pooled "
        f"and within one source {same} ({score.same_source_images} images)."
    )
    if "source" in tables:
        block.table(tables["source"])
    if audit.source.why_not:
        block.points(audit.source.why_not)


def _leakage(block: Block, audit: Audit, tables: Mapping[str, Table]) -> None:
    found = audit.leakage
    if found.known:
        block.text(
            f"{len(found.patients):,} patients are on both sides; {found.images:,} of {found.held_out:,} held-out "
            f"images are theirs. {len(found.pairs):,} pairs of images across the split look the same."
        )
    else:
        block.text(
            f"Which images the model learned from is not known. {len(found.pairs):,} pairs of images of different "
            "patients look the same: a split by patient does not keep them apart."
        )
    if found.pairs:
        block.tiles(
            _pair_tiles(audit, found.pairs[:PAIRS_SHOWN]), "Pairs that look the same, the most alike first."
        )
        with block.details(f"All {len(found.pairs)} pairs") as inner:
            inner.table(tables["near-duplicates"])


def _pair_tiles(audit: Audit, pairs: tuple[Pair, ...]) -> list[Tile]:
    place = {row.id: number for number, row in enumerate(audit.target.rows)}
    tiles = []
    for number, pair in enumerate(pairs, 1):
        for name, part in zip((pair.first, pair.second), (*pair.parts, "", ""), strict=False):
            if name in place:
                about = f"pair {number}: {name}" + (f" ({part})" if part else "")
                tiles.append(Tile(plain(_image(audit, place[name])), f"X-ray, {about}.", about))
    return tiles


def _image(audit: Audit, place: int) -> NDArray[np.uint8]:
    return np.asarray(audit.target.images[place], np.uint8)


def _origin(block: Block, audit: Audit) -> None:
    settings = audit.settings
    block.points(
        [
            "A rule holds only where the whole 95 % interval (bootstrap over patients) is on its side: chance on few "
            "images is no sign. 'No sign found' is not proof that there is no shortcut.",
            f"Probes: {settings.px} pixels, {settings.folds} folds, at most {settings.images:,} images, the commonest "
            f"source and class thinned first; perturbation: at most {settings.perturbed:,} held-out images.",
            "Near-duplicates: two 64-bit hashes (differences, frequencies) propose, the correlation of thumbnails "
            "decides.",
        ]
    )
    if command := audit.provenance.get("command"):
        block.text("The same again:")
        block.code(str(command))
