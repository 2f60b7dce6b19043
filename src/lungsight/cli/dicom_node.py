"""`lungsight dicom-node`."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from lungsight.cli import console


def dicom_node(
    folder: Annotated[
        Path, typer.Argument(help="Where the queue lives: what was received, and what is to be sent.")
    ],
    peer: Annotated[
        list[str] | None,
        typer.Option("--peer", help="Where results go, as TITLE@HOST:PORT; may be repeated."),
    ] = None,
    title: Annotated[str, typer.Option(help="AE title of this node.")] = "LUNGSIGHT",
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for every one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 11112,
    allow: Annotated[
        list[str] | None,
        typer.Option("--allow", help="AE title that may send; may be repeated. Default: any."),
    ] = None,
    result: Annotated[
        list[str] | None, typer.Option("--result", help="seg, sc or sr; may be repeated. Default: seg.")
    ] = None,
    include_score: Annotated[bool, typer.Option(help="The report (sr) says the research score too.")] = False,
    anonymous: Annotated[bool, typer.Option(help="Results name no patient.")] = False,
    new_uids: Annotated[bool, typer.Option(help="Anonymous results have new UIDs too.")] = False,
    model: Annotated[Path | None, typer.Option(help="Folder with other networks.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Cores to use; default: all.")] = None,
) -> None:
    """Take X-rays by C-STORE, send lung masks back by C-STORE. Research use only, not for diagnosis.

    Nothing that was accepted is lost, whatever ends the program: start it again with the same folder.
    """
    from lungsight.inference import load_model
    from lungsight.pacs.node import Node, NodeSettings, Peer, identity_of, maker

    peers = tuple(map(Peer.parse, peer or ()))
    settings = NodeSettings(folder, title, host, port, peers, tuple(allow or ()))
    engine = load_model(model, threads=threads)
    console.tell_gate(engine)
    identity = identity_of(folder, anonymous=anonymous, new_uids=new_uids)
    node = Node(settings, maker(engine, result or ["seg"], identity, include_score=include_score))
    stop = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())
    print(f"{title} listens on {host}:{node.start()}. Research use only, not for diagnosis.", file=sys.stderr)
    stop.wait()
    node.stop()
