"""`lungsight explain`."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lungsight.cli.console import tell
from lungsight.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from lungsight.inference import Lungsight


class Way(StrEnum):
    """How the map is made."""

    evidence = "evidence"
    occlusion = "occlusion"


def explain(
    inputs: Annotated[
        list[Path], typer.Argument(help="X-rays: PNG, JPEG, BMP, TIFF, DICOM.", metavar="FILES...")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for heat maps (JPEG) and figures (JSON).")],
    method: Annotated[
        Way | None,
        typer.Option(help="Default: the network's own evidence map where it gives one, else occlusion."),
    ] = None,
    check: Annotated[
        bool | None,
        typer.Option(
            "--check/--no-check",
            help="See whether the map changes when the weights are shuffled; default: where onnx is installed.",
        ),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Folder with other networks (NAME.onnx and NAME.json).")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Cores to use; default: all.")] = None,
) -> None:
    """What moved the score, and how much of it lies inside the lungs. Research use only, not for diagnosis.

    Writes NAME.heat.jpg (pink raised the score, green lowered it) and NAME.heat.json for each file.
    Exit code 0: all done; 1: some files failed; 2: nothing could be done.
    """
    tell("Research use only, not for diagnosis.")
    from lungsight.inference import load_model
    from lungsight.writers.naming import OutputNames

    engine, names = load_model(model, threads=threads), OutputNames()
    failed = 0
    for path in inputs:
        try:
            stem = out / names.stem(path, path.name)
            found = _explain(engine, path, stem, method, check)
        except InputError as error:
            failed += 1
            print(f"failed {error}", file=sys.stderr)
            continue
        inside = found["share_inside_lungs"]
        print(
            f"{path}: severity {'cannot tell' if found['severity'] is None else found['severity']}; "
            f"{found['decision']}, {found['probability']:.2f}; "
            + (
                "nothing moved the score"
                if inside is None
                else f"{inside:.0%} of what moved it is inside the lungs"
            )
            + f" ({found['method']}); look at {found['heat_map']}"
        )
        if (looked := found["sanity_check"]) and not looked["changed"]:
            print(
                f"warning {path}: the map hardly changes when the weights are shuffled "
                f"(rank correlation {looked['mean_absolute']:.2f}): do not trust it",
                file=sys.stderr,
            )
    if failed:
        raise typer.Exit(1 if failed < len(inputs) else 2)


def _explain(
    engine: Lungsight, path: Path, stem: Path, method: Way | None, check: bool | None
) -> dict[str, Any]:
    from lungsight import explain as explaining
    from lungsight.files import write_json
    from lungsight.inference.zones import ZONES
    from lungsight.writers.images import write_picture

    result = engine(path)
    found = explaining.explain(engine, result, method.value if method else None)
    looked: dict[str, Any] | None = None
    if check is not False:
        try:
            looked = explaining.sanity_check(engine, result, found).to_dict()
        except MissingExtraError:
            if check:
                raise
    picture = stem.with_name(f"{stem.name}.heat.jpg")
    write_picture(picture, explaining.heat_picture(result.xray.pixels, found))
    height, width = found.values.shape
    row = result.record
    answer = {
        "input": result.name,
        "severity": row.severity,
        "severity_interval": [row.severity_low, row.severity_high] if row.severity is not None else None,
        "severity_zones": dict(zip(ZONES, row.severity_zones, strict=False)),
        "cardiothoracic_ratio": row.cardiothoracic_ratio,
        "ratio_note": row.ratio_note,
        "heart_line": row.heart_line,
        "chest_line": row.chest_line,
        "decision": result.decision,
        "probability": result.probability,
        "interval": result.interval,
        "flags": result.flags,
        "method": found.method,
        "share_inside_lungs": found.inside,
        "lungs_share_of_image": float(result.mask.mean()),
        "cells": [height, width],
        "box": found.frame.box,
        "values": found.values,
        "sanity_check": looked,
        "networks": {one.card.task: f"{one.card.name} {one.card.version}" for one in engine.bundle.models},
        "heat_map": str(picture),
    }
    write_json(stem.with_name(f"{stem.name}.heat.json"), answer)
    return answer
