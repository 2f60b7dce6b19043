"""The DICOM node: what it accepted it keeps, predicts and sends, once, whatever ends it."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from lungsight.errors import ConfigError
from lungsight.pacs.queue import Queue
from programs import dcmtk, free_port, listens, running_orthanc, wait_for
from tiny_networks import draw_chest, write_bundle
from xray_files import dicom

pynetdicom = pytest.importorskip("pynetdicom")

# the queue


def test_queue_keeps_each_object_once(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    assert queue.receive("1.2", "1.1", b"one") and not queue.receive("1.2", "1.1", b"other")
    assert queue.inbox("1.2").read_bytes() == b"one" and queue.inbox("1.2").stat().st_mode & 0o077 == 0
    assert queue.next_received() == "1.2"
    for _ in range(2):
        queue.predicted("1.2", [("1.2.9", b"result")], ["A", "B"])
    assert queue.next_received() is None and [(one.peer, one.sop_uid) for one in queue.due()] == [
        ("A", "1.2.9"),
        ("B", "1.2.9"),
    ]
    queue.sent(queue.due()[0])
    queue.close()
    again = Queue(tmp_path)
    assert [one.peer for one in again.due()] == ["B"]
    assert again.counts() == {"received": 1, "predicted": 1, "failed": 0, "to_send": 1, "sent": 1}
    again.close()


def test_attempts_are_spread_and_never_end(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    queue.receive("1.2", "1.1", b"x")
    queue.predicted("1.2", [("1.2.9", b"result")], ["A"])
    waits = []
    for _ in range(14):
        waits.append(queue.postpone(queue.due(now=1e12)[0]))
    assert waits[:4] == [2, 4, 8, 16] and waits[-1] == 3600 and not queue.due()
    queue.close()


def test_xray_that_ends_the_node_again_and_again_is_given_up(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    queue.receive("1.2", "1.1", b"x")
    queue.receive("1.3", "1.1", b"x")
    assert [queue.next_received() for _ in range(4)] == ["1.2", "1.2", "1.2", "1.3"]
    assert queue.counts()["failed"] == 1
    queue.close()


def test_key_of_new_uids_stays(tmp_path: Path) -> None:
    keys = []
    for _ in range(2):
        queue = Queue(tmp_path)
        keys.append(queue.setting("uid key"))
        queue.close()
    assert keys[0] == keys[1] and len(keys[0]) == 32


@pytest.mark.parametrize("text", ["A", "A@b", "@b:1", "A@b:0", "A@b:70000", "TOOLONGATITLE1234@b:1", "A@:1"])
def test_peers_are_given_as_title_host_port(text: str) -> None:
    from lungsight.pacs.node import Peer

    assert Peer.parse("PACS@10.0.0.1:104") == Peer("PACS", "10.0.0.1", 104)
    with pytest.raises(ConfigError):
        Peer.parse(text)


# against DCMTK


class Storage:
    """DCMTK's storescp, which writes a file for each object, by its UID."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        program = dcmtk("storescp")
        folder.mkdir()
        self.process = subprocess.Popen(
            [program, "-od", folder, "+xa", "-aet", "STORESCP", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(lambda: listens(self.port))

    def objects(self) -> list[str]:
        return sorted(str(pydicom.dcmread(path).SOPInstanceUID) for path in self.folder.iterdir())


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    one = Storage(tmp_path / "storage")
    yield one
    one.process.kill()
    one.process.wait()


class NodeProcess:
    def __init__(self, folder: Path, port: int, peer_port: int, *step: str) -> None:
        program = [
            sys.executable,
            Path(__file__).with_name("node_process.py"),
            folder,
            port,
            peer_port,
            *step,
        ]
        self.process = subprocess.Popen(
            list(map(str, program)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self.process.stdout is not None
        self.ready = self.process.stdout.readline() == b"ready\n"

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        self.process.wait(60)
        if self.process.stdout:
            self.process.stdout.close()


def send(port: int, data: bytes, title: str = "NODE") -> int | None:
    """C-STORE by pynetdicom; the status, or None where no answer came."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    entity = pynetdicom.AE("SENDER")
    entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", port, ae_title=title)
    if not association.is_established:
        return None
    try:
        return association.send_c_store(dataset).get("Status")
    except (ValueError, RuntimeError):
        return None
    finally:
        association.release()


def xrays(count: int, start: int = 0) -> list[bytes]:
    return [dicom(SOPInstanceUID=f"1.2.3.{start + n}", PatientName="Doe^Jane") for n in range(count)]


def expected(count: int) -> list[str]:
    from lungsight.writers.dicom_source import Identity

    return sorted(Identity().result_uid(f"1.2.3.{n}", "test") for n in range(count))


@pytest.mark.parametrize("step", ["committed", "made", "predicted", "sent", "noted"])
def test_killed_between_any_two_steps_nothing_is_lost_or_doubled(
    step: str, tmp_path: Path, storage: Storage
) -> None:
    port, files = free_port(), xrays(3)
    node = NodeProcess(tmp_path / "queue", port, storage.port, step, "2")
    accepted = [send(port, data) for data in files]
    node.process.wait(60)  # it ended itself
    node.kill()
    node = NodeProcess(tmp_path / "queue", port, storage.port)
    # As a modality does: what was not acknowledged is sent again.
    accepted = [
        status if status == 0 else send(port, data) for status, data in zip(accepted, files, strict=True)
    ]
    assert accepted == [0, 0, 0]
    assert wait_for(lambda: storage.objects() == expected(3))
    node.kill(signal.SIGTERM)
    queue = Queue(tmp_path / "queue")
    assert wait_for(lambda: queue.counts()["received"] == 3)
    assert queue.counts() | {"to_send": 0, "sent": 3} == queue.counts()
    queue.close()
    assert node.process.returncode == 0


MOMENTS = int(os.environ.get("LUNGSIGHT_KILLS", "4"))
"""`LUNGSIGHT_KILLS=50` tries as many moments as docs/dicom.md reports."""


def test_killed_at_seeded_moments_nothing_is_lost_or_doubled(tmp_path: Path, storage: Storage) -> None:
    port, rng = free_port(), np.random.default_rng(1)
    waiting, count = [], 0
    for _ in range(MOMENTS):
        node = NodeProcess(tmp_path / "queue", port, storage.port)
        killer = threading.Timer(rng.uniform(0.0, 0.4), node.process.kill)
        killer.start()
        waiting += xrays(2, count)
        count += 2
        waiting = [data for data in waiting if send(port, data) != 0]
        killer.join()
        node.kill()
    node = NodeProcess(tmp_path / "queue", port, storage.port)
    assert [send(port, data) for data in waiting] == [0] * len(waiting)
    assert wait_for(lambda: storage.objects() == expected(count))
    node.kill(signal.SIGTERM)
    queue = Queue(tmp_path / "queue")
    assert queue.counts() == {"received": count, "predicted": count, "failed": 0, "to_send": 0, "sent": count}
    queue.close()


def test_echo_titles_commitment_and_other_kinds(tmp_path: Path, storage: Storage) -> None:
    from pynetdicom.sop_class import CTImageStorage, StorageCommitmentPushModel, Verification  # type: ignore

    port = free_port()
    node = NodeProcess(tmp_path / "queue", port, storage.port)
    entity = pynetdicom.AE("STORESCP")
    for context in (Verification, StorageCommitmentPushModel, CTImageStorage):
        entity.add_requested_context(context)
    association = entity.associate("127.0.0.1", port, ae_title="NODE")
    assert association.send_c_echo().Status == 0
    assert [one.abstract_syntax for one in association.rejected_contexts] == [CTImageStorage]
    request = pydicom.Dataset()
    request.TransactionUID = "1.2.3.99"
    item = pydicom.Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.3.0"
    request.ReferencedSOPSequence = [item]
    status, _ = association.send_n_action(request, 1, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1")
    assert status.Status == 0
    request.TransactionUID = "Doe^Jane"
    status, _ = association.send_n_action(request, 1, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1")
    assert status.Status == 0x0115
    association.release()
    assert not entity.associate("127.0.0.1", port, ae_title="OTHER").is_established
    node.kill(signal.SIGTERM)


def test_commitment_is_reported_to_the_peer(tmp_path: Path) -> None:
    from pynetdicom import evt
    from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore

    from lungsight.pacs.node import Node, NodeSettings, Peer

    reports: list[Any] = []

    def report(event: Any) -> Any:
        reports.append((event.event_type, event.event_information))
        return 0x0000, None

    entity = pynetdicom.AE("MODALITY")
    entity.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, report)]
    )
    peer = Peer("MODALITY", "127.0.0.1", server.server_address[1])
    node = Node(NodeSettings(tmp_path, "NODE", port=0, peers=(peer,)), lambda path: [])
    port = node.start()
    try:
        assert send(port, xrays(1)[0]) == 0
        asker = pynetdicom.AE("MODALITY")
        asker.add_requested_context(StorageCommitmentPushModel)
        association = asker.associate("127.0.0.1", port, ae_title="NODE")
        request = pydicom.Dataset()
        request.TransactionUID = "1.2.3.99"
        request.ReferencedSOPSequence = []
        for uid in ("1.2.3.0", "1.2.3.7"):
            item = pydicom.Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", uid
            request.ReferencedSOPSequence.append(item)
        status, _ = association.send_n_action(
            request, 1, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1"
        )
        association.release()
        assert status.Status == 0 and wait_for(lambda: bool(reports))
    finally:
        node.stop()
        server.shutdown()
    kind, told = reports[0]
    assert kind == 2 and told.TransactionUID == "1.2.3.99"
    assert [item.ReferencedSOPInstanceUID for item in told.ReferencedSOPSequence] == ["1.2.3.0"]
    assert [item.ReferencedSOPInstanceUID for item in told.FailedSOPSequence] == ["1.2.3.7"]


# against Orthanc, with the networks that ship


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[dict[str, int]]:
    with running_orthanc(tmp_path) as ports:
        yield ports


def test_round_trip_with_orthanc(orthanc: dict[str, int], tmp_path: Path) -> None:
    """Orthanc sends an X-ray to the node, and gets masks, overlay and report of the same study back."""
    pytest.importorskip("highdicom")
    from lungsight.inference import load_model
    from lungsight.pacs.node import Node, NodeSettings, Peer, maker
    from lungsight.writers.dicom_source import Identity

    def ask(path: str, body: bytes | None = None) -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{orthanc['http']}{path}", data=body)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    chest = draw_chest()
    data = dicom(chest, StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.4", SOPInstanceUID="1.2.3.4.5")
    model = load_model(write_bundle(tmp_path / "networks", "lungs"), threads=1)
    settings = NodeSettings(
        tmp_path / "queue",
        port=orthanc["node"],
        peers=(Peer("ORTHANC", "127.0.0.1", orthanc["dicom"]),),
        allow=("ORTHANC",),
    )
    node = Node(settings, maker(model, ("seg", "sc", "sr"), Identity()))
    node.start()
    try:
        stored = ask("/instances", data)
        ask("/modalities/node/store", stored["ID"].encode())
        assert wait_for(lambda: len(ask("/instances")) == 4)
    finally:
        node.stop()
    kinds = {}
    for one in ask("/instances?expand"):
        tags = ask(f"/instances/{one['ID']}/simplified-tags")
        assert (tags["PatientName"], tags["StudyInstanceUID"]) == ("Doe^Jane", "1.2.3")
        kinds[tags["Modality"]] = tags
    assert set(kinds) == {"DX", "SEG", "OT", "SR"}
    assert kinds["SEG"]["Rows"] == "200" and kinds["SEG"]["NumberOfFrames"] == "2"
