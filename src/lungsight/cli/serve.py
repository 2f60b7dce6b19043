"""`lungsight serve`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lungsight.errors import ConfigError, require

MIB = 2**20


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="LUNGSIGHT_TOKEN",
            show_envvar=True,
            help="Requests must bring it as 'Authorization: Bearer TOKEN'. Better given in the variable.",
        ),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(
            "--name",
            help="Host name under which the server may be called; may be repeated. Default: any, or, on "
            "127.0.0.1, this machine's own.",
        ),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(help="Copy every upload and its result into this folder. Default: nothing stays."),
    ] = None,
    identified: Annotated[
        bool,
        typer.Option(
            "--identified", help="DICOM results name the patient, as the X-ray does. Default: they do not."
        ),
    ] = False,
    model: Annotated[
        Path | None, typer.Option(help="Folder with other networks (NAME.onnx and NAME.json).")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Cores to use; default: all.")] = None,
    batch: Annotated[
        int, typer.Option(min=1, max=256, help="X-rays that go through the networks together.")
    ] = 8,
    queue: Annotated[int, typer.Option(min=1, help="X-rays that may wait; more are answered with 503.")] = 64,
    max_files: Annotated[int, typer.Option(min=1, help="X-rays in one request.")] = 16,
    max_file_mib: Annotated[int, typer.Option(min=1, help="Largest file.")] = 64,
    max_request_mib: Annotated[int, typer.Option(min=1, help="Largest request.")] = 256,
    max_megapixels: Annotated[float, typer.Option(min=0.001, help="Largest X-ray.")] = 32,
    upload_seconds: Annotated[float, typer.Option(min=0.1, help="Longest upload.")] = 30,
    answer_seconds: Annotated[float, typer.Option(min=0.1, help="Longest wait for an answer.")] = 60,
    stop_seconds: Annotated[int, typer.Option(min=1, help="Longest wait for open requests at the end.")] = 30,
    fd: Annotated[
        int | None, typer.Option(help="An open listening socket to use, in place of --host and --port.")
    ] = None,
) -> None:
    """The page and the API, on this machine alone unless told otherwise. Research use only, not for diagnosis.

    Open the address that it prints in a browser. Ctrl-C stops it, after what is open is done.
    """
    print("Research use only, not for diagnosis.", file=sys.stderr)
    for module in ("fastapi", "uvicorn", "prometheus_client"):
        require(module, feature="The page and the API", extra="serve")
    from lungsight.inference import load_model
    from lungsight.server.serve import is_loopback
    from lungsight.server.serve import serve as run
    from lungsight.server.settings import LOOPBACK, Settings

    local = fd is None and is_loopback(host)
    settings = Settings(
        token=token,
        hosts=tuple(one.lower() for one in name) if name else LOOPBACK if local else (),
        max_files=max_files,
        max_file_bytes=max_file_mib * MIB,
        max_request_bytes=max_request_mib * MIB,
        max_pixels=round(max_megapixels * 1e6),
        max_held_bytes=2 * max_request_mib * MIB,
        queue=queue,
        batch=batch,
        upload_seconds=upload_seconds,
        answer_seconds=answer_seconds,
        stop_seconds=stop_seconds,
        keep=keep,
        identified=identified,
    )
    if not local and token is None:
        print(
            "lungsight: others can reach this server and there is no token: set LUNGSIGHT_TOKEN, and put "
            "something in front of it that speaks TLS",
            file=sys.stderr,
        )
    if keep is not None:
        if keep.exists() and not keep.is_dir():
            raise ConfigError("is not a folder", where=keep)
        print(f"lungsight: uploads are kept in {keep}", file=sys.stderr)
    run(load_model(model, threads=threads), settings, host=host, port=port, fd=fd)
