"""A node in a child process that ends itself, or is ended, at a given moment; for tests/test_pacs.py.

    python node_process.py FOLDER PORT PEER_PORT [STEP COUNT]

Prints 'ready' when it listens. With STEP it kills itself (as kill -9 does) when that step is done for the COUNTth time.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from pydicom import dcmread

from lungsight.pacs.node import Node, NodeSettings, Peer
from lungsight.writers.dicom_source import Identity, encode


def make(path: Path) -> list[tuple[str, bytes]]:
    """One small Secondary Capture for each X-ray: what is tried here is the queue, not the networks."""
    source = dcmread(path)
    uid = Identity().result_uid(str(source.SOPInstanceUID), "test")
    source.SOPInstanceUID, source.SOPClassUID = uid, "1.2.840.10008.5.1.4.1.1.7"
    source.file_meta.MediaStorageSOPInstanceUID, source.file_meta.MediaStorageSOPClassUID = (
        uid,
        source.SOPClassUID,
    )
    return [(uid, encode(source))]


def main() -> None:
    """Run until killed."""
    folder, port, peer_port = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    step, count = (sys.argv[4], int(sys.argv[5])) if len(sys.argv) > 4 else ("", 0)
    seen = 0

    def listener(name: str) -> None:
        nonlocal seen
        seen += name == step
        if step and seen == count:
            os.kill(os.getpid(), signal.SIGKILL)

    peer = Peer("STORESCP", "127.0.0.1", peer_port)
    node = Node(NodeSettings(folder, "NODE", port=port, peers=(peer,)), make, step=listener)
    node.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    signal.sigwait({signal.SIGTERM})
    node.stop()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    main()
