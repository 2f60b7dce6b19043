"""A DICOM node: X-rays in by C-STORE, results out by C-STORE, storage commitment; see docs/dicom.md.

The node itself parses no pixel and no data set of a peer: what arrives is kept as it is, and read in a decoding
process when its turn comes.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lungsight import __version__
from lungsight.errors import ConfigError, InputError, LungsightError, OutputError, require
from lungsight.pacs.queue import Commitment, Outgoing, Queue
from lungsight.xray.dicom_kind import RADIOGRAPHS, valid_uid

log = logging.getLogger(__name__)

TRANSFER_SYNTAXES = (
    *("1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"),
    *("1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"),
    *("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"),
    "1.2.840.10008.1.2.5",
)
COMMITMENT, COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
VERIFICATION = "1.2.840.10008.1.1"
RESULT_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.66.4",
    "1.2.840.10008.5.1.4.1.1.7",
    "1.2.840.10008.5.1.4.1.1.88.33",
)
"""SEG, Secondary Capture, Comprehensive SR."""
SUCCESS, OUT_OF_RESOURCES, NOT_UNDERSTOOD, BAD_CLASS = 0x0000, 0xA700, 0xC000, 0xA900

Maker = Callable[[Path], Sequence[tuple[str, bytes]]]
"""From the file of an X-ray to its results: their SOP instance UIDs and bytes. Raises LungsightError."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Where results go."""

    title: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Peer:
        """From 'TITLE@HOST:PORT'; raises ConfigError."""
        title, at, rest = text.partition("@")
        host, colon, port = rest.rpartition(":")
        if not (at and colon and host and 0 < len(title) <= 16 and port.isdigit() and 0 < int(port) < 65536):
            raise ConfigError("a peer is given as TITLE@HOST:PORT", where="peer")
        return cls(title, host.strip("[]"), int(port))


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """How a node works."""

    folder: Path
    title: str = "LUNGSIGHT"
    host: str = "127.0.0.1"
    port: int = 11112
    peers: tuple[Peer, ...] = ()
    allow: tuple[str, ...] = ()
    """AE titles that may send; anybody where empty."""
    max_bytes: int = 256 * 2**20
    associations: int = 8
    seconds: float = 30.0
    """Of silence, after which an association ends."""


class Node:
    """One node; `start` returns when it listens, `stop` when everything at work is put down.

    Args:
        settings: how it works.
        make: from an X-ray to its results.
        step: told the name of each step as it is done: 'kept', 'committed', 'made', 'predicted', 'sent', 'noted'.
    """

    def __init__(
        self, settings: NodeSettings, make: Maker, *, step: Callable[[str], None] | None = None
    ) -> None:
        require("pynetdicom", feature="The DICOM node", extra="dicom")
        self.settings, self.queue = settings, Queue(settings.folder)
        self._make, self._step = make, step or (lambda name: None)
        self._peers = {peer.title: peer for peer in settings.peers}
        self._stopping, self._work, self._post = threading.Event(), threading.Event(), threading.Event()
        self._server: Any = None
        self._threads = [
            threading.Thread(
                target=self._loop, args=(self._predict_one, self._work), name="lungsight-predict"
            ),
            threading.Thread(target=self._loop, args=(self._send_due, self._post), name="lungsight-send"),
        ]

    def start(self) -> int:
        """Listen, and go on with what an earlier run left. Returns the port.

        Raises:
            OutputError: the port is taken.
        """
        from pynetdicom import AE, evt

        entity = self._entity(AE)
        for sop_class in sorted(RADIOGRAPHS):
            entity.add_supported_context(sop_class, list(TRANSFER_SYNTAXES))
        entity.add_supported_context(VERIFICATION)
        entity.add_supported_context(COMMITMENT)
        entity.maximum_associations = self.settings.associations
        entity.require_called_aet = True
        entity.require_calling_aet = list(self.settings.allow)
        handlers: list[Any] = [(evt.EVT_C_ECHO, lambda event: SUCCESS), (evt.EVT_C_STORE, self._store)]
        handlers.append((evt.EVT_N_ACTION, self._commitment))
        try:
            self._server = entity.start_server(
                (self.settings.host, self.settings.port), block=False, evt_handlers=handlers
            )
        except OSError as error:
            raise OutputError(
                "the port cannot be listened on",
                where=f"{self.settings.host}:{self.settings.port}",
                hint="Is it taken, or below 1024?",
            ) from error
        for thread in self._threads:
            thread.start()
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """Take nothing more, finish the X-ray at work, keep the rest for the next start."""
        self._stopping.set()
        if self._server is not None:
            self._server.shutdown()
        for event in (self._work, self._post):
            event.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        self.queue.close()

    def _entity(self, kind: Any) -> Any:
        entity = kind(ae_title=self.settings.title)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = self.settings.seconds
        entity.connection_timeout = min(10.0, self.settings.seconds)
        entity.implementation_version_name = f"LUNGSIGHT_{__version__}"[:16]
        return entity

    # in

    def _store(self, event: Any) -> int:
        request = event.request
        uid, sop_class = (
            valid_uid(str(request.AffectedSOPInstanceUID)),
            valid_uid(str(request.AffectedSOPClassUID)),
        )
        if not uid or not sop_class:
            return NOT_UNDERSTOOD
        if len(request.DataSet.getbuffer()) > self.settings.max_bytes:
            return OUT_OF_RESOURCES
        try:
            new = self.queue.receive(uid, sop_class, bytes(event.encoded_dataset()))
        except OutputError as error:
            log.error("an object could not be kept: %s", error.code)
            return OUT_OF_RESOURCES
        self._step("committed")
        if new:
            log.info("received one X-ray")
            self._work.set()
        return SUCCESS

    def _commitment(self, event: Any) -> tuple[int, None]:
        try:
            information = event.action_information
            transaction = valid_uid(str(information.TransactionUID))
            asked = [
                (valid_uid(str(item.ReferencedSOPClassUID)), valid_uid(str(item.ReferencedSOPInstanceUID)))
                for item in information.ReferencedSOPSequence[:10_000]
            ]
        except (AttributeError, ValueError, TypeError, KeyError):
            return 0x0115, None  # invalid argument value
        peer = str(event.assoc.requestor.ae_title).strip()
        if not transaction or not asked or not all(a and b for a, b in asked):
            return 0x0115, None
        if peer not in self._peers:
            return 0x0110, None  # nowhere to send the answer to
        self.queue.ask_commitment(transaction, peer, asked)
        self._post.set()
        return SUCCESS, None

    # work

    def _loop(self, work: Callable[[], bool], wake: threading.Event) -> None:
        while not self._stopping.is_set():
            wake.clear()
            try:
                if work():
                    continue
            except Exception as error:  # the node goes on; what was at work is still in the queue
                log.error("a step of the node failed: %s", type(error).__name__)
            wake.wait(1.0)

    def _predict_one(self) -> bool:
        uid = self.queue.next_received()
        if uid is None:
            return False
        try:
            results = self._make(self.queue.inbox(uid))
            self._step("made")
            self.queue.predicted(uid, results, list(self._peers))
            self._step("predicted")
        except LungsightError as error:
            log.warning("no result for one X-ray: %s", error.code)
            self.queue.failed(uid, error.code)
        self._post.set()
        return True

    # out

    def _send_due(self) -> bool:
        for commitment in self.queue.commitments():
            self.queue.answered(commitment, ok=self._answer(commitment))
        due = self.queue.due()
        down: set[str] = set()
        for one in due:
            if self._stopping.is_set():
                break
            peer = self._peers.get(one.peer)
            if peer is not None and one.peer not in down and self._send(one, peer):
                self._step("sent")
                self.queue.sent(one)
                self._step("noted")
            else:
                down.add(one.peer)
                self.queue.postpone(one)
        return False

    def _send(self, one: Outgoing, peer: Peer) -> bool:
        from pydicom import dcmread
        from pynetdicom import AE

        entity = self._entity(AE)
        for sop_class in RESULT_CLASSES:
            entity.add_requested_context(sop_class, ["1.2.840.10008.1.2.1"])
        association = entity.associate(peer.host, peer.port, ae_title=peer.title)
        if not association.is_established:
            log.warning("a peer cannot be reached; it is tried again later")
            return False
        try:
            answer = association.send_c_store(dcmread(self.queue.outbox(one.sop_uid)))
        except ValueError:  # it does not take this kind of object
            log.warning("a peer does not take results of this kind; it is tried again later")
            return False
        finally:
            association.release()
        status = answer.get("Status")
        return status is not None and (status == SUCCESS or status & 0xF000 == 0xB000)

    def _answer(self, one: Commitment) -> bool:
        """N-EVENT-REPORT: what is kept (1), or what is and what is not (2); PS3.4 annex J."""
        from pydicom.dataset import Dataset
        from pydicom.sequence import Sequence
        from pynetdicom import AE, build_role

        def items(pairs: Sequence[tuple[str, str]], reason: int | None) -> Any:
            found = []
            for sop_class, uid in pairs:
                item = Dataset()
                item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
                if reason is not None:
                    item.FailureReason = reason
                found.append(item)
            return found

        peer = self._peers.get(one.peer)
        if peer is None:
            return False
        report = Dataset()
        report.TransactionUID = one.transaction_uid
        if one.kept:
            report.ReferencedSOPSequence = Sequence(items(one.kept, None))
        if one.missing:
            report.FailedSOPSequence = Sequence(items(one.missing, 0x0112))  # no such object
        entity = self._entity(AE)
        entity.add_requested_context(COMMITMENT)
        role = build_role(COMMITMENT, scp_role=True)
        association = entity.associate(peer.host, peer.port, ae_title=peer.title, ext_neg=[role])
        if not association.is_established:
            return False
        try:
            status, _ = association.send_n_event_report(
                report, 2 if one.missing else 1, COMMITMENT, COMMITMENT_INSTANCE
            )
        except ValueError:
            return False
        finally:
            association.release()
        return bool(status.get("Status") == SUCCESS)


def maker(model: Any, kinds: Sequence[str], identity: Any, *, include_score: bool = False) -> Maker:
    """Results by the networks: of each X-ray the kinds 'seg', 'sc' and 'sr' that are asked for.

    Raises (when called):
        RefusedError: no frontal chest X-ray.
        InputError: it cannot be read.
    """
    from lungsight.writers.dicom_results import encode_results

    def make(path: Path) -> list[tuple[str, bytes]]:
        result = model(path, name="the X-ray")
        if not result.gate.frontal:
            raise InputError("not a frontal chest X-ray", code="refused")
        return encode_results(path, result, kinds, identity, include_score=include_score)

    return make


def identity_of(folder: str | Path, *, anonymous: bool, new_uids: bool) -> Any:
    """How the results of this folder's node name patient and objects: the same at every start."""
    from lungsight.writers.dicom_source import Identity

    queue = Queue(folder)
    try:
        return Identity(anonymous or new_uids, new_uids, queue.setting("uid key"))
    finally:
        queue.close()
