"""The two stages in a row, one X-ray at a time or many in a pipeline of flat memory."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsight.errors import ConfigError, InputError, LungsightError
from lungsight.inference import lung_masks as lungs
from lungsight.inference import plausibility
from lungsight.inference import view_gate as gate
from lungsight.inference.classifier import Diagnosis, decide, prepare
from lungsight.inference.result import Failure, NetworkId, Result
from lungsight.inference.sessions import Session
from lungsight.model import Bundle, load_bundle
from lungsight.preprocess import Frame, resize_image, to_unit
from lungsight.wording import Decision, Flag, LungConvention, Reason
from lungsight.xray import XRay, read_xray

Source = str | Path | bytes | NDArray[Any] | XRay
"""A path, the bytes of a file, an array as `read_xray` takes it, or an X-ray that was read."""

HEART = "heart"
"""Name of the heart among the classes of a lung network."""
_PIXELS_AHEAD = 64_000_000
"""Decoded pixels that may wait, so that large files do not fill the memory."""


@dataclass(slots=True)
class _Item:
    """One X-ray on its way through the networks."""

    xray: XRay
    seconds: float
    small: NDArray[np.float32]
    """(h, w) of the lung network."""
    gate: NDArray[np.float32] | None
    """(h, w) of the gate."""


@dataclass(frozen=True, slots=True)
class _Networks:
    """The sessions of a bundle, each with so many threads to an operation."""

    lungs: Session
    diagnosis: Session | None
    gate: Session | None

    @classmethod
    def of(cls, bundle: Bundle, threads: int | None) -> _Networks:
        others = (Session(one, threads) if one else None for one in (bundle.diagnosis, bundle.gate))
        return cls(Session(bundle.lungs, threads), *others)


class Lungsight:
    """Networks that are ready to use. Make one with `load_model`; it may be shared between threads."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int | None = None,
        threshold: float | None = None,
        mask_threshold: float | None = None,
        lungs: str | None = None,
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

        Raises:
            ConfigError: a threshold outside (0, 1), fewer than one thread, or no such convention.
            ModelError: the lung network does not give that convention.
        """
        for name, value in (("threshold", threshold), ("mask threshold", mask_threshold)):
            if value is not None and not 0 < value < 1:
                raise ConfigError(f"the {name} must lie between 0 and 1, not {value}")
        if threads is not None and threads < 1:
            raise ConfigError(f"at least one thread is needed, not {threads}")
        self.bundle = bundle
        self.threads = threads
        self.threshold = threshold
        self.mask_threshold = bundle.lungs.card.threshold if mask_threshold is None else mask_threshold
        own = bundle.lungs.card.convention or LungConvention.FULL.value
        if lungs is not None and lungs not in list(LungConvention):
            raise ConfigError("lungs are masked as 'full' or 'visible'", where="lungs")
        self.convention = LungConvention(lungs or own)
        self._channels = tuple(bundle.lungs.card.channel(name) for name in (own, self.convention))
        self.networks = tuple(map(NetworkId.of, bundle.models))
        self._shared = _Networks.of(bundle, threads)
        # Of many X-rays each core takes its own: cores that share one operation wait for each other.
        self._per_core = self._shared if threads == 1 else _Networks.of(bundle, 1)

    def __call__(self, source: Source, *, name: str | None = None) -> Result:
        """Predict one X-ray.

        Args:
            source: a path, bytes, array or `XRay`.
            name: what the result and messages call it.

        Raises:
            InputError: it cannot be read.
            ModelError: a network cannot be used.
        """
        return self._predict([self._read(source, name)], self._shared)[0]

    def predict_many(
        self, sources: Iterable[Source], *, batch: int = 8
    ) -> Generator[Result | Failure, None, None]:
        """Predict any number of X-rays, in their order; one that cannot be read gives a `Failure`.

        Decoding runs in threads ahead of the networks, and each core runs the networks on its own part of a batch.
        At any time about two batches are in memory, so that memory does not grow with the number of X-rays.

        Args:
            sources: may be a generator; it is read only as far as needed.
            batch: X-rays that go through the networks together.

        Raises:
            ConfigError: `batch` is below 1.
            ModelError: a network cannot be used.
        """
        if batch < 1:
            raise ConfigError(f"a batch needs at least one X-ray, not {batch}")
        return self._stream(iter(sources), batch)

    def _stream(self, sources: Iterator[Source], batch: int) -> Generator[Result | Failure, None, None]:
        workers = self.threads or os.cpu_count() or 1
        share = max(1, batch // workers)
        reading: deque[Future[_Item | Failure]] = deque()
        running: deque[Future[list[Result | Failure]]] = deque()
        ready: list[_Item | Failure] = []
        pixels = largest = 0
        decoding, networks = (
            ThreadPoolExecutor(workers, thread_name_prefix=f"lungsight-{name}")
            for name in ("decode", "networks")
        )
        try:
            more = True
            while more or reading or ready or running:
                ahead = max(workers, min(batch // 2, _PIXELS_AHEAD // max(largest, 1)))
                while more and len(reading) < ahead:
                    try:
                        reading.append(decoding.submit(self._try_read, next(sources)))
                    except StopIteration:
                        more = False
                if reading:
                    item = reading.popleft().result()
                    ready.append(item)
                    if isinstance(item, _Item):
                        pixels += item.xray.pixels.size
                        largest = max(largest, item.xray.pixels.size)
                last = not (more or reading)
                if ready and (len(ready) >= share or pixels > _PIXELS_AHEAD // workers or last):
                    alone = last and not running and len(ready) == 1
                    chosen = self._shared if alone else self._per_core
                    running.append(networks.submit(self._pass, ready, chosen))
                    ready, pixels = [], 0
                while running and (last or len(running) >= workers or running[0].done()):
                    yield from running.popleft().result()
        finally:
            for pool in (decoding, networks):
                pool.shutdown(wait=True, cancel_futures=True)

    def _pass(self, ready: Sequence[_Item | Failure], networks: _Networks) -> list[Result | Failure]:
        results = iter(self._predict([item for item in ready if isinstance(item, _Item)], networks))
        return [item if isinstance(item, Failure) else next(results) for item in ready]

    def _try_read(self, source: Source) -> _Item | Failure:
        start = time.perf_counter()
        try:
            return self._read(source, None)
        except Exception as error:  # whatever a decoder makes of a broken file, the rest goes on
            name = str(source) if isinstance(source, str | Path) else type(source).__name__
            if isinstance(error, LungsightError):
                known: LungsightError = error
            else:
                known = InputError(f"cannot be read ({type(error).__name__}: {error})", where=name)
            return Failure(known.where or name, known, time.perf_counter() - start)

    def _read(self, source: Source, name: str | None) -> _Item:
        start = time.perf_counter()
        xray = source if isinstance(source, XRay) else read_xray(source, name=name)
        gating = self.bundle.gate
        small = to_unit(resize_image(xray.pixels, self.bundle.lungs.card.input.size))
        for_gate = to_unit(resize_image(xray.pixels, gating.card.input.size)) if gating else None
        return _Item(xray, time.perf_counter() - start, small, for_gate)

    def _predict(self, items: Sequence[_Item], networks: _Networks) -> list[Result]:
        if not items:
            return []
        start = time.perf_counter()
        small = _batch([item.small for item in items], networks.lungs.card.input.channels)
        maps = self._check_output(networks.lungs.run(small)["probability"], items)
        # Score, gate and flags rest on the network's own convention and threshold, whatever mask is asked for.
        card = self.bundle.lungs.card
        own, asked_for = self._channels
        heart = card.classes.index(HEART) if HEART in card.classes else None
        found = [lungs.find(each[own], card.threshold) for each in maps]
        flags = [plausibility.check(one, item.small) for item, one in zip(items, found, strict=True)]
        gates = self._judge(items, flags, networks.gate)
        diagnoses = self._diagnose(items, found, gates, networks.diagnosis)
        shared = (time.perf_counter() - start) / len(items)
        results = []
        for item, each, one, gated, diagnosis, flagged in zip(
            items, maps, found, gates, diagnoses, flags, strict=True
        ):
            start = time.perf_counter()
            frame = Frame.whole(item.xray.shape, self.bundle.lungs.card.input.size)
            same = (own, card.threshold) == (asked_for, self.mask_threshold)
            asked = one if same else lungs.find(each[asked_for], self.mask_threshold)
            labels = asked.labels(frame)
            seconds = item.seconds + shared + time.perf_counter() - start
            results.append(
                Result(
                    item.xray,
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
                    heart_map=None if heart is None else each[heart],
                )
            )
        return results

    def _check_output(self, maps: NDArray[np.float32], items: Sequence[_Item]) -> NDArray[np.float32]:
        card = self.bundle.lungs.card
        wanted = (len(items), max(1, len(card.classes)), *card.input.size)
        if maps.shape != wanted:
            raise self._shared.lungs.broken(f"answers with the shape {maps.shape} instead of {wanted}")
        # Where the network gives no number there is no lung.
        return np.nan_to_num(maps, nan=0.0, posinf=0.0, neginf=0.0)

    def _judge(
        self, items: Sequence[_Item], flags: Sequence[tuple[Flag, ...]], network: Session | None
    ) -> list[gate.Gate]:
        card = network.card if network else None
        answers: Sequence[NDArray[np.float32] | None] = [None] * len(items)
        if network:
            small = [item.gate for item in items if item.gate is not None]
            answers = list(network.run(_batch(small, network.card.input.channels))["probability"])
        return [
            gate.judge(item.xray, item.small, answer, card, flagged)
            for item, answer, flagged in zip(items, answers, flags, strict=True)
        ]

    def _diagnose(
        self,
        items: Sequence[_Item],
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
            view = prepare(item.xray.pixels, one.mask, card.input) if gated.frontal else None
            if view is not None:
                inputs.append(view)
                scored.append(index)
        if scored:
            outputs = network.run(np.stack(inputs))
            for row, index in enumerate(scored):
                evidence = outputs["cam"][row, 0] if "cam" in outputs else None
                answers[index] = decide(float(outputs["logit"][row, 0]), card, evidence, self.threshold)
        return answers


def _batch(images: Sequence[NDArray[np.float32]], channels: int) -> NDArray[np.float32]:
    return np.repeat(np.stack(images)[:, None], channels, axis=1)


def load_model(
    path: str | Path | None = None,
    *,
    threads: int | None = None,
    threshold: float | None = None,
    mask_threshold: float | None = None,
    lungs: str | None = None,
) -> Lungsight:
    """Load the networks that ship with lungsight, or those of a folder.

    Args:
        path: folder with `NAME.onnx` and `NAME.json` for lungs and, if wanted, diagnosis and gate.
        threads: for the networks and for decoding; all cores where None.
        threshold: probability from which an X-ray is called COVID-19; the card's where None.
        mask_threshold: probability from which a pixel is lung in the mask; the card's where None. The score always
            rests on the card's.
        lungs: what counts as lung in the mask: 'full', with what heart and diaphragm hide, or 'visible', as far as
            it is seen beside them; the card's where None ('full' for what ships).

    Raises:
        ModelError: there is no usable lung network, or a file is not what its card says.
        ConfigError: a setting is out of range.

    Example:
        >>> from lungsight import load_model
        >>> model = load_model()                      # doctest: +SKIP
        >>> result = model("chest.png")               # doctest: +SKIP
    """
    return Lungsight(
        load_bundle(path), threads=threads, threshold=threshold, mask_threshold=mask_threshold, lungs=lungs
    )
