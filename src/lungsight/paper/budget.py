"""What a machine can afford: width and epochs of the paper's runs for a number of minutes."""

from __future__ import annotations

import json
import math
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from lungsight.config import Recipe, load_recipe
from lungsight.files import write_json
from lungsight.training.data import Batches, Examples
from lungsight.training.device import Device
from lungsight.training.memory import kept_memory
from lungsight.training.module import TrainingModule, half_size

WIDTHS = (1.0, 0.5, 0.25, 0.125, 0.0625)
NARROW_RATE, NARROW_SCHEDULE = 1e-3, "cosine"
"""Adam's default in Keras, which the paper's text implies (the recipe's 1e-4 is that Keras form's own), brought down
to 0 along a cosine: held constant, the Dice at threshold 0.2 swings by 0.03 from one epoch to the next."""

NARROW_PATIENCE = 3
"""Epochs without a lower validation loss after which a CNN below full width stops; the paper's stopped after one, its
second. A narrow one is then at the mercy of a single epoch."""

FEW_STEPS, SMALL_BATCHES = 10_000, (4, 2)
"""Below full width, batches are as large as so many steps in the time allow, and as small as these if need be: steps
are what a narrow network lacks. What was tried stands in `docs/tutorials/reproduce.md`."""

FEWEST_EPOCHS = 5
"""A wider U-Net is taken only if it gets so many epochs, most of them at half the side. Of the paper's larger set
that is some 20,000 images; at 3,000 width 1/8 is as good as 1/16 in the same time."""

_MARGIN = 0.9
"""Of the time is planned: a U-Net whose time is up before its epochs at full size is worth little."""
_LUNGS_SHARE, _TRAINING_SHARE, _DIAGNOSIS_EPOCHS = 0.68, 0.88, 4


@dataclass(frozen=True)
class Sizes:
    """Numbers of images: training and validation part of each kind of run."""

    lungs: tuple[int, int]
    lungs_500: tuple[int, int]
    diagnosis: tuple[int, int]
    diagnosis_runs: int


@dataclass(frozen=True)
class _UNet:
    """One way to train the U-Net: the recipe, epochs, how many of them at half the side, seconds of an image in all."""

    recipe: Recipe
    epochs: int
    half: int
    cost: float


@dataclass(frozen=True)
class Plan:
    """Widths and epochs, and the words that the report says them in."""

    minutes: float | None
    lungs_width: float
    lungs_epochs: int
    lungs_half_size_epochs: int
    lungs_rate: float
    lungs_schedule: str
    lungs_batch: int
    diagnosis_width: float
    diagnosis_epochs: int
    diagnosis_minutes: float | None
    asked_seed: int
    seed: int
    words: str

    def recipe(self, name: str) -> Recipe:
        """The shipped recipe `name` under this plan."""
        recipe = load_recipe(name)
        lungs = recipe.task == "lungs"
        changes: dict[str, float | int | str] = {
            "network.width": self.lungs_width if lungs else self.diagnosis_width,
            "training.epochs": self.lungs_epochs if lungs else self.diagnosis_epochs,
        }
        if lungs:
            changes["training.half_size_epochs"] = self.lungs_half_size_epochs
            changes["training.learning_rate"] = self.lungs_rate
            changes["training.schedule"] = self.lungs_schedule
            changes["training.batch"] = self.lungs_batch
        elif self.diagnosis_width < 1 and self.minutes is not None:
            changes["training.patience"] = NARROW_PATIENCE
        changes["training.seed"] = self.seed
        return recipe.with_settings(**changes)


def make_plan(
    minutes: float | None,
    width: float | None,
    seed: int | None,
    examples: Examples,
    sizes: Sizes,
    path: Path,
) -> Plan:
    """The paper's own protocol, or for a number of minutes what a few timed training steps at each width allow.

    Such a plan is kept, and taken as it is for the same minutes, so that a run resumes.

    Args:
        minutes: for everything; None: the paper's own protocol.
        width: use this one for both networks, whatever it costs; None: choose.
        seed: of every run; None: the recipes' own. A narrow U-Net that dies with it gets the next one that lives.
        examples: lung examples to time with.
        path: where the plan is kept.
    """
    lungs, diagnosis = load_recipe("paper-segmentation"), load_recipe("paper-diagnosis")
    asked = lungs.training.seed if seed is None else seed
    lungs = lungs.with_settings(**{"training.seed": asked})
    if minutes is None:
        words = "No budget was given: the paper's epochs"
        words += f", at width {width:g}." if width and width != 1 else " and full width."
        plan = Plan(
            None,
            width or 1.0,
            lungs.training.epochs,
            0,
            lungs.training.learning_rate,
            lungs.training.schedule,
            lungs.training.batch,
            width or 1.0,
            diagnosis.training.epochs,
            None,
            asked,
            asked,
            words,
        )
    else:
        with kept_memory(Device.of("auto").kind):  # as in training
            plan = _stored(path, minutes, width, asked) or _fit(
                minutes, width, examples, sizes, lungs, diagnosis
            )
    write_json(path, asdict(plan))
    return plan


def _stored(path: Path, minutes: float, width: float | None, seed: int) -> Plan | None:
    try:
        stored = Plan(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError):  # none yet, or of another version
        return None
    same = (stored.minutes, stored.asked_seed) == (minutes, seed) and (
        width is None or width == stored.lungs_width
    )
    return stored if same else None


def _fit(
    minutes: float, width: float | None, examples: Examples, sizes: Sizes, lungs: Recipe, diagnosis: Recipe
) -> Plan:
    seconds = minutes * 60
    # A validation image costs about a third of a training image: forward only.
    per_epoch = sum(train + validation / 3 for train, validation in (sizes.lungs, sizes.lungs_500))
    allowed = _MARGIN * seconds * _LUNGS_SHARE / per_epoch  # seconds for one image in all epochs together
    chosen = _lungs(lungs, width, examples, allowed, sizes.lungs[0])
    train, validation = sizes.diagnosis
    images = (train + validation / 3) * sizes.diagnosis_runs * _DIAGNOSIS_EPOCHS
    left = _TRAINING_SHARE - min(_LUNGS_SHARE, per_epoch * chosen.cost / seconds)
    diagnosis_width, _ = _widest(diagnosis, width, examples, seconds * left / max(images, 1))
    asked = seed = lungs.training.seed
    wanted, batch = lungs.training.epochs, chosen.recipe.training.batch
    lungs_width = chosen.recipe.network.width
    full = lungs_width >= 1
    rate, schedule = chosen.recipe.training.learning_rate, chosen.recipe.training.schedule
    if not full:
        seed = first_live_seed(
            chosen.recipe.with_settings(**{"training.half_size_epochs": chosen.half}), examples
        )
    words = (
        f"Fitted to {minutes:g} minutes on this machine: U-Net at width {lungs_width:g} "
        f"({'full' if full else 'filters ' + _filters(lungs_width)}), {chosen.epochs} of {wanted} epochs"
        f"{f', the first {chosen.half} at half the side' if chosen.half else ''}"
        f"{'' if full else ', Adam at 0.001 falling to 0 along a cosine'}"
        f"{f', batches of {batch}' if batch != lungs.training.batch else ''}; "
        f"CNN at width {diagnosis_width:g}"
        f"{f', stopped after {NARROW_PATIENCE} epochs without gain' if diagnosis_width < 1 else ''}."
        f"{'' if seed == asked else f' Seed {seed}: with {asked} this U-Net died at its two-channel ReLU.'}"
    )
    return Plan(
        minutes,
        lungs_width,
        chosen.epochs,
        chosen.half,
        rate,
        schedule,
        batch,
        diagnosis_width,
        diagnosis.training.epochs,
        minutes * left / sizes.diagnosis_runs,
        asked,
        seed,
        words,
    )


def _lungs(recipe: Recipe, width: float | None, examples: Examples, allowed: float, images: int) -> _UNet:
    """The widest U-Net that gets `FEWEST_EPOCHS` in the time, with the epochs that `share_epochs` gives it.

    Args:
        recipe: the paper's own.
        width: only this one; None: choose.
        allowed: seconds of an image in all epochs together.
        images: of an epoch.
    """
    best: _UNet | None = None
    for candidate in [width] if width is not None else reversed(WIDTHS):
        tried = recipe.with_settings(**{"network.width": candidate})
        if candidate < 1:
            found = _narrow(tried, examples, allowed, images)
        else:  # the paper's own network is trained as the paper did
            cost = seconds_per_image(tried, examples)
            epochs = max(1, min(recipe.training.epochs, int(allowed / cost)))
            found = _UNet(tried, epochs, 0, epochs * cost)
        if best is not None and found.epochs < FEWEST_EPOCHS:
            break
        best = found
    if best is None:
        raise ValueError("there are no widths")
    return best


def _narrow(recipe: Recipe, examples: Examples, allowed: float, images: int) -> _UNet:
    """Of the batches tried, from the recipe's own down, the first that makes `FEW_STEPS`, else that of most steps."""
    most = -1.0
    for batch in (recipe.training.batch, *SMALL_BATCHES):
        tried = recipe.with_settings(
            **{
                "training.batch": batch,
                "training.learning_rate": NARROW_RATE,
                "training.schedule": NARROW_SCHEDULE,
            }
        )
        full = seconds_per_image(tried, examples)
        half = seconds_per_image(tried.with_settings(**{"training.half_size_epochs": 1}), examples)
        epochs, first = share_epochs(allowed, full, half, recipe.training.epochs)
        steps = images * epochs / batch
        if steps > most:
            most, best = steps, _UNet(tried, epochs, first, (epochs - first) * full + first * half)
        if steps >= FEW_STEPS:
            break
    return best


def share_epochs(allowed: float, full: float, half: float, wanted: int) -> tuple[int, int]:
    """Epochs in all, and how many of them, the first, at half the side.

    As many epochs as the time allows with no more of it at half the side than at full size, and of these as many as it
    allows at full size; one at full size at least.

    Args:
        allowed, full, half: seconds of an image: in all epochs, in one, in one at half the side.
        wanted: at most so many epochs.
    """
    for epochs in range(wanted, 0, -1):
        for last in range(epochs, 0, -1):
            first = epochs - last
            if last * full + first * half <= allowed:
                if last * full >= first * half:
                    return epochs, first
                break
    return 1, 0


def _filters(width: float) -> str:
    return "-".join(str(max(1, round(count * width))) for count in (64, 128, 256, 512, 1024))


def _widest(recipe: Recipe, width: float | None, examples: Examples, allowed: float) -> tuple[float, float]:
    """The widest network that takes at most `allowed` seconds a training image, and what it takes."""
    if width is not None:
        return width, seconds_per_image(recipe.with_settings(**{"network.width": width}), examples)
    best: tuple[float, float] | None = None
    for candidate in reversed(WIDTHS):
        cost = seconds_per_image(recipe.with_settings(**{"network.width": candidate}), examples)
        if best is not None and cost > allowed:
            break
        best = candidate, cost
    if best is None:
        raise ValueError("there are no widths")
    return best


def first_live_seed(recipe: Recipe, examples: Examples, images: int = 320, tries: int = 10) -> int:
    """The recipe's seed, or the first one after it with which the U-Net starts to learn.

    The last ReLU of that U-Net has two channels. Often, the more so the narrower it is, both are 0 everywhere after
    the first steps, and the network answers one constant for ever. One lives whose training loss falls clearly
    below that of the best constant, the entropy of the lungs' share, within `images` images, and 40 steps at least.
    """
    steps = max(40, images // recipe.training.batch)
    state = torch.get_rng_state()
    first = recipe.training.seed
    seeds = range(first, first + tries)
    living = (s for s in seeds if _learns(recipe.with_settings(**{"training.seed": s}), examples, steps))
    found = next(living, first)
    torch.set_rng_state(state)
    return found


def _fast(recipe: Recipe) -> bool:
    return Device.of("auto").precision(recipe.training.precision) == "bf16-mixed"


def _learns(recipe: Recipe, examples: Examples, steps: int) -> bool:
    torch.manual_seed(recipe.training.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    module = TrainingModule(recipe, steps=1).to(device)
    optimiser = torch.optim.Adam(module.network.parameters(), lr=recipe.training.learning_rate)
    rows = torch.randperm(len(examples.inputs), generator=torch.Generator().manual_seed(0)).numpy()
    batches = Batches(examples, rows, recipe, training=True)
    losses, shares = [], []
    for step in range(steps):
        images, target = (part.to(device) for part in _shown(batches[step % len(batches)], recipe))
        with torch.autocast(
            device,
            torch.bfloat16,
            enabled=_fast(recipe),
        ):
            logits = module.network(module.laid_out(images))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), target)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
        shares.append(float(target.mean()))
    late = slice(3 * steps // 4, None)
    share = sum(shares[late]) / len(shares[late])
    constant = -share * math.log(share) - (1 - share) * math.log(1 - share)
    return sum(losses[late]) / len(losses[late]) < 0.93 * constant


def _shown(batch: tuple[Tensor, Tensor], recipe: Recipe) -> tuple[Tensor, Tensor]:
    """A batch as the recipe's first epoch shows it."""
    return half_size(*batch) if recipe.training.half_size_epochs else batch


def seconds_per_image(recipe: Recipe, examples: Examples, steps: int = 3) -> float:
    """Time of a training step over its images: the median of `steps` after one to warm up.

    Not the best one: on a machine with other work to do, a plan made of it runs out of time before its last epochs, in
    which the learning rate is to fall.
    """
    top, left, bottom, right = recipe.data.crop
    height, width = examples.inputs.shape[1:3]
    inputs = examples.inputs[:, top : height - bottom, left : width - right]
    labels = examples.labels if examples.labels is not None else examples.groups.astype("float32")
    masks = examples.masks if recipe.task == "lungs" else None
    shown = Examples(inputs, masks, None if masks is not None else labels, examples.groups)
    count = min(recipe.training.batch, len(inputs))
    batch = Batches(shown, torch.arange(count).numpy(), recipe, training=False)[0]
    state = torch.get_rng_state()
    module = TrainingModule(recipe, steps=1)
    optimiser = torch.optim.Adam(module.network.parameters())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    module.to(device)
    images, target = (part.to(device) for part in _shown(batch, recipe))
    taken: list[float] = []
    for step in range(steps + 1):
        begun = time.monotonic()
        with torch.autocast(
            device,
            torch.bfloat16,
            enabled=_fast(recipe),
        ):
            logits = module.network(module.laid_out(images))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), target)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if device == "cuda":
            torch.cuda.synchronize()
        if step:
            taken.append(time.monotonic() - begun)
    torch.set_rng_state(state)
    return statistics.median(taken) / count
