"""The two stages in a row, one X-ray at a time or many in a pipeline of flat memory."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsight.errors import ConfigError, InputError, LungsightError
from lungsight.inference import lung_masks as lungs
from lungsight.inference import plausibility
from lungsight.inference import view_gate as gate
from lungsight.inference.classifier import Diagnosis, decide, prepare
from lungsight.inference.heart import ratio_of
from lungsight.inference.pipeline import Tag, pipeline
from lungsight.inference.reader import (
    Duplicate,
    Item,
    Source,
    name_of,
    read_item,
    split_sources,
    stack,
    untagged,
)
from lungsight.inference.result import Failure, NetworkId, Result
from lungsight.inference.sessions import Networks, Session
from lungsight.inference.severity import Severity, can_grade, severities_of, severity_input
from lungsight.inference.sides import SURE_HEART
from lungsight.model import Bundle
from lungsight.preprocess import Frame
from lungsight.wording import Decision, Flag, LungConvention, Reason
from lungsight.xray import Limits

HEART = "heart"  # its name among the classes of a lung network


class Lungsight:
    """Networks that are ready to use. Make one with `load_model`.

    It may be shared between threads, and pickled or copied into other processes (joblib, multiprocessing, Ray): what is
    copied is the networks and the settings.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int | None = None,
        threshold: float | None = None,
        mask_threshold: float | None = None,
        lungs: str | None = None,
        limits: Limits | None = None,
        device: str = "cpu",
    ) -> None:
        """Prepare the networks of a bundle; nothing is loaded before the first prediction.

        Args:
            bundle: from `lungsight.model.load_bundle`.
            threads: for the networks and for decoding; all cores where None.
            threshold: probability from which an X-ray is called COVID-19; the card's where None.
            mask_threshold: probability from which a pixel is lung in the mask; the card's where None. The score always
                rests on the card's.
            lungs: 'full' or 'visible', what counts as lung in the mask; the card's where None. The score always rests
                on the card's.
            limits: how large a file is accepted; `Limits()` where None.
            device: 'cpu', or another of `sessions.PROVIDERS`, for the networks.

        Raises:
            ConfigError: a threshold outside (0, 1), fewer than one thread, no such convention, or no such device.
            ModelError: the lung network does not give that convention.
        """
        for name, value in (("threshold", threshold), ("mask threshold", mask_threshold)):
            if value is not None and not 0 < value < 1:
                raise ConfigError(f"the {name} must lie between 0 and 1, not {value}")
        if threads is not None and threads < 1:
            raise ConfigError(f"at least one thread is needed, not {threads}")
        self.bundle = bundle
        self.threads = threads
        self.limits = limits
        self.device = device
        self.threshold = threshold
        self.mask_threshold = bundle.lungs.card.threshold if mask_threshold is None else mask_threshold
        own = bundle.lungs.card.convention or LungConvention.FULL.value
        if lungs is not None and lungs not in list(LungConvention):
            raise ConfigError("lungs are masked as 'full' or 'visible'", where="lungs")
        self.convention = LungConvention(lungs or own)
        self._channels = tuple(bundle.lungs.card.channel(name) for name in (own, self.convention))
        self.networks = tuple(map(NetworkId.of, bundle.models))
        self._shared = Networks.of(bundle, threads, device)
        # Of many X-rays each core takes its own: cores that share one operation wait for each other.
        one_set = threads == 1 or device != "cpu"
        self._per_core = self._shared if one_set else Networks.of(bundle, 1, device)

    def with_limits(self, limits: Limits | None, *, threads: int | None = None) -> Lungsight:
        """The same networks with other limits on files, and with so many threads where that is given."""
        changed = {"limits": limits, "threads": threads or self.threads}
        return _rebuild(self.bundle, self._settings() | changed)

    def _settings(self) -> dict[str, Any]:
        return {
            "threads": self.threads,
            "threshold": self.threshold,
            "mask_threshold": self.mask_threshold,
            "limits": self.limits,
            "device": self.device,
            "lungs": self.convention.value,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.bundle, self._settings())

    def __repr__(self) -> str:
        networks = ", ".join(f"{one.task} {one.name} {one.version}" for one in self.networks)
        return f"Lungsight({networks}; device {self.device})"

    def __call__(self, source: Source, *, name: str | None = None) -> Result:
        """Predict one X-ray.

        Args:
            source: a path, bytes, open file, array, tensor, PIL image or `XRay`; see `reader.Source`.
            name: what the result and messages call it.

        Raises:
            InputError: it cannot be read.
            ModelError: a network cannot be used.
        """
        item = self._read(source, name, None)
        if not isinstance(item, Item):  # only where a caller claims digests
            raise InputError("came up before", where=item.name)
        return self._predict([item], self._shared)[0]

    def predict(self, sources: Any, *, batch: int = 8) -> list[Result | Failure]:
        """Predict several X-rays at once, and hold all results.

        Args:
            sources: a list of paths, bytes, arrays ..., an array of (N, H, W), or one X-ray.
            batch: X-rays that go through the networks together.

        Returns:
            A result for each, in their order; a `Failure` for one that cannot be read.

        Raises:
            ConfigError: `batch` is below 1.
            ModelError: a network cannot be used.
        """
        return list(self.stream(sources, batch=batch))

    def stream(self, sources: Any, *, batch: int = 8) -> Generator[Result | Failure, None, None]:
        """Predict any number of X-rays, in their order; one that cannot be read gives a `Failure`.

        Decoding runs in threads ahead of the networks, and each core runs the networks on its own part of a batch.
        At any time about two batches are in memory, so that memory does not grow with the number of X-rays.

        Args:
            sources: as `predict` takes them; a generator is read only as far as needed.
            batch: X-rays that go through the networks together.

        Raises:
            ConfigError: `batch` is below 1.
            ModelError: a network cannot be used.
        """
        tagged = self.stream_tagged(((source, None) for source in split_sources(sources)), batch=batch)
        return untagged(tagged)

    predict_many = stream  # the name before

    def stream_tagged(
        self,
        sources: Iterable[tuple[Source, Tag]],
        *,
        batch: int = 8,
        claim: Callable[[str], bool] | None = None,
    ) -> Generator[tuple[Result | Failure | Duplicate, Tag], None, None]:
        """As `stream`, with a tag beside each source that comes back beside its result.

        Args:
            sources: pairs of a source and its tag.
            batch: X-rays that go through the networks together.
            claim: asked for the SHA-256 of each file before it is decoded; where it says no, the file gives a
                `Duplicate`.

        Raises:
            ConfigError: `batch` is below 1.
            ModelError: a network cannot be used.
        """
        if batch < 1:
            raise ConfigError(f"a batch needs at least one X-ray, not {batch}")
        return pipeline(
            sources,
            lambda source: self._try_read(source, claim),
            lambda ready, alone: self._pass(ready, self._shared if alone else self._per_core),
            workers=self.threads or os.cpu_count() or 1,
            batch=batch,
        )

    @contextmanager
    def opened_ahead(self, *, alone: bool) -> Iterator[None]:
        """The runtime reads the networks in another thread, while the first X-ray is decoded.

        Args:
            alone: it is the only X-ray.
        """
        networks = self._shared if alone else self._per_core
        thread = threading.Thread(target=networks.open, name="lungsight-open", daemon=True)
        thread.start()
        try:
            yield
        finally:
            # A process that ends while the runtime works in a thread may crash.
            thread.join()

    def _pass(
        self, ready: Sequence[Item | Failure | Duplicate], networks: Networks
    ) -> list[Result | Failure | Duplicate]:
        results = iter(self._predict([item for item in ready if isinstance(item, Item)], networks))
        return [next(results) if isinstance(item, Item) else item for item in ready]

    def _try_read(self, source: Source, claim: Callable[[str], bool] | None) -> Item | Failure | Duplicate:
        start = time.perf_counter()
        name = name_of(source)
        try:
            return self._read(source, name, claim)
        except LungsightError as error:
            return Failure(error.where or name, error, time.perf_counter() - start)
        except MemoryError as error:
            known = InputError("needs more memory than there is", code="memory", where=name)
            known.__cause__ = error
        except Exception as error:  # whatever a decoder makes of a broken file, the rest goes on
            known = InputError("cannot be read", where=name, detail=f"{type(error).__name__}: {error}")
            known.__cause__ = error
        return Failure(name, known, time.perf_counter() - start)

    def _read(
        self, source: Source, name: str | None, claim: Callable[[str], bool] | None
    ) -> Item | Duplicate | Failure:
        gate, diagnosis = self.bundle.gate, self.bundle.diagnosis
        return read_item(
            source,
            self.bundle.lungs.card.input.size,
            gate.card.input.size if gate else None,
            diagnosis=diagnosis.card.input.resized if diagnosis else None,
            name=name,
            limits=self.limits,
            claim=claim,
        )

    def _predict(self, items: Sequence[Item], networks: Networks) -> list[Result]:
        if not items:
            return []
        start = time.perf_counter()
        small = stack([item.small for item in items], networks.lungs.card.input.channels)
        outputs = networks.lungs.run(small)
        maps = self._check_output(outputs["probability"], items)
        # Score, gate and flags rest on the network's own convention and threshold, whatever mask is asked for.
        card = self.bundle.lungs.card
        own, asked_for = self._channels
        heart = card.classes.index(HEART) if HEART in card.classes else None
        found = [lungs.find(each[own], card.threshold) for each in maps]
        strange = plausibility.unlikeness(outputs.get("outlier"), card.outlier_limit, len(items))
        hearts = [None if heart is None else each[heart] >= SURE_HEART for each in maps]
        seen, mirrored = zip(*((item.small, item.xray.mirrored) for item in items), strict=True)
        flags = plausibility.check_all(found, seen, strange, hearts, mirrored)
        gates = self._judge(items, flags, networks.gate)
        diagnoses = self._diagnose(items, found, gates, networks.diagnosis)
        severities = self._grade(items, found, gates, flags, networks.severity)
        shared = (time.perf_counter() - start) / len(items)
        results = []
        for item, each, one, gated, diagnosis, severity, flagged, far in zip(
            items, maps, found, gates, diagnoses, severities, flags, strange, strict=True
        ):
            start = time.perf_counter()
            heart_map = None if heart is None else each[heart]
            frame = Frame.whole(item.xray.shape, self.bundle.lungs.card.input.size)
            same = (own, card.threshold) == (asked_for, self.mask_threshold)
            asked = one if same else lungs.find(each[asked_for], self.mask_threshold)
            labels = asked.labels(frame, mirrored=item.xray.mirrored)
            seconds = item.seconds + shared + time.perf_counter() - start
            results.append(
                Result(
                    item.shown(frontal=gated.frontal),
                    labels,
                    gated,
                    diagnosis,
                    flagged,
                    each[asked_for],
                    each[own],
                    frame,
                    seconds,
                    networks=self.networks,
                    convention=self.convention,
                    heart_map=heart_map,
                    sha256=item.sha256,
                    severity=severity,
                    unlikeness=far,
                    ratio=ratio_of(
                        heart_map,
                        one.small,
                        gated.frontal,
                        flagged,
                        frame.pixel_aspect,
                        card.heart_threshold,
                    ),
                )
            )
        return results

    def _grade(
        self,
        items: Sequence[Item],
        found: Sequence[lungs.Lungs],
        gates: Sequence[gate.Gate],
        flags: Sequence[tuple[Flag, ...]],
        network: Session | None,
    ) -> list[Severity | None]:
        answers: list[Severity | None] = [None] * len(items)
        if network is None:
            return answers
        seen = {
            index: severity_input(item.xray.pixels, one.small, network.card.input.size)
            for index, (item, one, gated, flagged) in enumerate(zip(items, found, gates, flags, strict=True))
            if gated.frontal and can_grade(flagged)
        }
        inputs = {index: given for index, given in seen.items() if given is not None}
        if inputs:
            graded = severities_of(network.run(np.stack(list(inputs.values())))["zones"], network.card)
            for index, one in zip(inputs, graded, strict=True):
                answers[index] = one
        return answers

    def _check_output(self, maps: NDArray[np.float32], items: Sequence[Item]) -> NDArray[np.float32]:
        card = self.bundle.lungs.card
        wanted = (len(items), max(1, len(card.classes)), *card.input.size)
        if maps.shape != wanted:
            raise self._shared.lungs.broken(f"answers with the shape {maps.shape} instead of {wanted}")
        # Where the network gives no number there is no lung.
        if np.isfinite(maps).all():  # a copy takes several times as long
            return maps
        return np.nan_to_num(maps, nan=0.0, posinf=0.0, neginf=0.0)

    def _judge(
        self, items: Sequence[Item], flags: Sequence[tuple[Flag, ...]], network: Session | None
    ) -> list[gate.Gate]:
        card = network.card if network else None
        answers: Sequence[NDArray[np.float32] | None] = [None] * len(items)
        if network:
            small = [item.gate for item in items if item.gate is not None]
            answers = list(network.run(stack(small, network.card.input.channels))["probability"])
        return [
            gate.judge(item.xray, item.small, answer, card, flagged)
            for item, answer, flagged in zip(items, answers, flags, strict=True)
        ]

    def _diagnose(
        self,
        items: Sequence[Item],
        found: Sequence[lungs.Lungs],
        gates: Sequence[gate.Gate],
        network: Session | None,
    ) -> list[Diagnosis]:
        if network is None:
            return [Diagnosis(Decision.NOT_SCORED, reasons=(Reason.NO_NETWORK,))] * len(items)
        card = network.card
        answers = [Diagnosis(Decision.NOT_SCORED, reasons=one.reasons) for one in gates]
        inputs: list[NDArray[np.float32]] = []
        scored: list[int] = []
        for index, (item, one, gated) in enumerate(zip(items, found, gates, strict=True)):
            view = prepare(item.sizes.at(card.input.resized), one.mask, card.input) if gated.frontal else None
            if view is not None:
                inputs.append(view)
                scored.append(index)
        if scored:
            outputs = network.run(np.stack(inputs))
            for row, index in enumerate(scored):
                evidence = outputs["cam"][row, 0] if "cam" in outputs else None
                answers[index] = decide(float(outputs["logit"][row, 0]), card, evidence, self.threshold)
        return answers


def _rebuild(bundle: Bundle, settings: dict[str, Any]) -> Lungsight:
    return Lungsight(bundle, **settings)
