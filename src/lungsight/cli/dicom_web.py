"""`lungsight dicom-web`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lungsight.cli import console


def dicom_web(
    url: Annotated[str, typer.Argument(help="Root of the DICOMweb server: http or https")],
    study: Annotated[
        list[str] | None, typer.Option("--study", help="StudyInstanceUID; may be repeated.")
    ] = None,
    series: Annotated[
        list[str] | None, typer.Option("--series", help="SeriesInstanceUID in these studies; default: all.")
    ] = None,
    date: Annotated[str, typer.Option(help="StudyDate in place of --study: YYYYMMDD, or two with '-'.")] = "",
    result: Annotated[
        list[str] | None, typer.Option("--result", help="seg, sc or sr; may be repeated. Default: seg.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the results here too.")] = None,
    store: Annotated[bool, typer.Option(help="Store the results on the server.")] = True,
    include_score: Annotated[bool, typer.Option(help="The report (sr) says the research score too.")] = False,
    anonymous: Annotated[bool, typer.Option(help="Results name no patient.")] = False,
    token: Annotated[
        str | None,
        typer.Option(envvar="LUNGSIGHT_DICOMWEB_TOKEN", show_envvar=True, help="Bearer token of the server."),
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(
            envvar="LUNGSIGHT_DICOMWEB_USER", show_envvar=True, help="NAME:PASSWORD for the server."
        ),
    ] = None,
    model: Annotated[Path | None, typer.Option(help="Folder with other networks.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Cores to use; default: all.")] = None,
) -> None:
    """Lung masks for X-rays of a DICOMweb server, stored where they came from. Research use only, not for diagnosis.

    Exit code 0: nothing failed; 1: some X-rays failed; 2: nothing could be done.
    """
    print("Research use only, not for diagnosis.", file=sys.stderr)
    from lungsight.inference import load_model
    from lungsight.pacs.dicomweb import DicomWeb, bytes_maker, exchange
    from lungsight.writers.dicom_source import Identity

    name, _, password = (user or "").partition(":")
    server = DicomWeb(url, token=token, user=(name, password) if user else None)
    found = server.find(study or (), series=series or (), date=date)
    networks = load_model(model, threads=threads)
    console.tell_gate(networks)
    make = bytes_maker(
        networks,
        result or ["seg"],
        Identity(anonymous),
        include_score=include_score,
    )
    done = exchange(server, found, make, out=out, store=store)
    print(
        f"{done.found} found, {done.predicted} predicted, {done.refused} refused, {done.stored} results stored, "
        f"{done.failed} failed"
    )
    for one, error in done.failures:
        print(f"failed {one.instance}: {error.message}", file=sys.stderr)
    raise typer.Exit(1 if done.failed else 0)
