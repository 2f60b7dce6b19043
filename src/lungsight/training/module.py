"""The Lightning module: a recipe's network with its loss, optimiser and schedule."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lungsight.config import Recipe
from lungsight.networks import build
from lungsight.training.processes import sum_over_processes
from lungsight.training.targets import FULL


def make_network(recipe: Recipe) -> nn.Module:
    """The recipe's network with fresh weights."""
    return build(
        recipe.network.name,
        width=recipe.network.width,
        channels=recipe.data.channels,
        size=recipe.data.input_size,
    )


def channels_last(network: nn.Module) -> nn.Module:
    """The network with its weights laid out channels last, two to three times as fast on a CPU."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def trains_plain(recipe: Recipe) -> bool:
    """Whether a CPU trains the network faster with its weights laid out channels first.

    So does the paper's U-Net from half width on: channels last is a third faster forwards and takes up to twice as long
    backwards: at full width 5.8 instead of 3.9 s an image, at a quarter of it as long (`docs/tutorials/reproduce.md`).
    """
    return recipe.network.name == "paper-unet" and recipe.network.width >= 0.5


def overlap_counts(logits: Tensor, target: Tensor, threshold: float) -> Tensor:
    """(N, 3): pixels in both, predicted, true, for each image."""
    predicted = torch.sigmoid(logits) >= threshold
    true = target > 0.5
    return torch.stack(
        [part.flatten(1).sum(1) for part in (predicted & true, predicted, true)], dim=1
    ).float()


def half_size(images: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both at half the side: means of 2 x 2 pixels, and of the target what is at least half of them.

    Args:
        images: (N, C, h, w).
        target: (N, K, h, w) of 0 and 1.

    Returns:
        (N, C, h/2, w/2) and (N, K, h/2, w/2).
    """
    return F.avg_pool2d(images, 2), (F.avg_pool2d(target, 2) >= 0.5).float()


def outlines_loss(logits: Tensor, values: Tensor, known: Tensor) -> Tensor:
    """Cross-entropy where the annotation says something, and Dice of every plane that it draws whole.

    Args:
        logits, values, known: (N, K, h, w); values in [0, 1], known 0 or 1.
    """
    each = F.binary_cross_entropy_with_logits(logits, values, reduction="none")
    # One and a half of the three planes are known of an average image: 2 keeps the scale of a single mask's loss.
    entropy = (each * known).mean() * logits.shape[1] / 2
    probability = torch.sigmoid(logits)
    both = (probability * values).flatten(2).sum(2)
    total = probability.flatten(2).sum(2) + values.flatten(2).sum(2)
    drawn = (known.flatten(2).amin(2) > 0) & (values.flatten(2).amax(2) > 0)
    dice = ((1 - (2 * both + 1) / (total + 1)) * drawn).sum() / drawn.sum().clamp(min=1)
    return entropy + dice


def focal_loss(logits: Tensor, target: Tensor, gamma: float = 2.0) -> Tensor:
    """Cross-entropy times (1 - p)^gamma, p the probability of the true class; the mean. Lin et al., ICCV 2017."""
    from monai.losses import FocalLoss

    loss: Tensor = FocalLoss(gamma=gamma)(logits, target)
    return loss


def own_convention(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Of networks that mark several things: each image's lungs by the convention by which they were drawn.

    Returns:
        (N, 1, h, w) logits and values; what is not of such a network as it is.
    """
    if logits.dim() != 4 or target.shape[1] != 2 * logits.shape[1]:
        return logits, target
    values, known = target.chunk(2, dim=1)
    visible = (known[:, FULL].flatten(1).amin(1) == 0).long()
    here = torch.arange(len(logits), device=logits.device)
    return logits[here, visible].unsqueeze(1), values[here, visible].unsqueeze(1)


class TrainingModule(lightning.LightningModule):
    """Loss, optimiser and schedule of a recipe around its network."""

    def __init__(self, recipe: Recipe, steps: int) -> None:
        super().__init__()
        self.recipe, self.steps = recipe, steps
        self.network = make_network(recipe)
        if not trains_plain(recipe):
            channels_last(self.network)
        self._sums: dict[str, float] = {}
        self._count = 0.0

    def laid_out(self, images: Tensor) -> Tensor:
        """A training batch in the layout in which the network trains fastest; (N, C, h, w) as before."""
        return images.contiguous() if trains_plain(self.recipe) and images.device.type == "cpu" else images

    def _loss(self, logits: Tensor, target: Tensor) -> Tensor:
        if self.recipe.task == "gate":
            return F.cross_entropy(logits, target)
        if logits.dim() == 4 and target.shape[1] == 2 * logits.shape[1]:
            return outlines_loss(logits, *target.chunk(2, dim=1))
        if self.recipe.training.loss == "focal":
            return focal_loss(logits, target)
        loss = F.binary_cross_entropy_with_logits(logits, target)
        if self.recipe.training.loss == "bce-dice":
            probability = torch.sigmoid(logits)
            both = (probability * target).flatten(1).sum(1)
            total = probability.flatten(1).sum(1) + target.flatten(1).sum(1)
            loss = loss + (1 - (2 * both + 1) / (total + 1)).mean()
        return loss

    def _right(self, logits: Tensor, target: Tensor) -> Tensor:
        if self.recipe.task == "gate":
            return logits.argmax(dim=1) == target
        return (logits >= 0) == (target > 0.5)

    def training_step(self, batch: tuple[Tensor, ...], _: int) -> dict[str, Tensor]:
        images, target, *sizes = batch
        if self.current_epoch < self.recipe.training.half_size_epochs:
            images, target = half_size(images, target)
        images = self.laid_out(images)
        if hasattr(self.network, "training_loss"):  # a network with a loss of its own
            logits, loss = self.network.training_loss(images, target)  # type: ignore[operator]
        else:
            logits = self.network(images).float()
            loss = self._loss(logits, target)
        accuracy = self._right(*own_convention(logits.detach(), target)).float().mean()
        found = {"mean_loss": loss.detach(), "accuracy": accuracy, "size": torch.tensor(len(images))}
        if sizes:
            # A share of a batch: DDP takes the mean over processes, and this makes it the mean over images.
            mine, whole = sizes[0]
            loss, found["size"] = loss * (mine * self.trainer.world_size / whole), mine
        return found | {"loss": loss}

    def on_validation_epoch_start(self) -> None:
        # All names from the start: a process without an image of its own has them too.
        names = ("loss", "accuracy", *(["dice"] if self.recipe.task == "lungs" else []))
        self._sums, self._count = dict.fromkeys(names, 0.0), 0.0

    def validation_step(self, batch: tuple[Tensor, ...], _: int) -> None:
        images, target, *sizes = batch
        logits = self.network(images).float()
        found = {"loss": self._loss(logits, target)}
        logits, target = own_convention(logits, target)
        found["accuracy"] = self._right(logits, target).float().mean()
        if self.recipe.task == "lungs":
            both, predicted, true = overlap_counts(logits, target, self.recipe.evaluation.threshold).T
            found["dice"] = ((2 * both + 1e-9) / (predicted + true + 1e-9)).mean()
        size = float(sizes[0][0]) if sizes else len(images)
        self._count += size
        for name, value in found.items():
            self._sums[name] += float(value) * size

    def on_validation_epoch_end(self) -> None:
        *totals, count = sum_over_processes(self.trainer, [*self._sums.values(), self._count])
        for name, total in zip(self._sums, totals, strict=True):
            self.log(f"val_{name}", total / count, sync_dist=True)

    def on_train_epoch_start(self) -> None:
        # Dropout draws from torch's global generator: seeded for each epoch, a resumed run draws what an
        # uninterrupted one draws.
        # Each of several processes draws its own.
        torch.manual_seed(
            self.recipe.training.seed * 100_003 + self.current_epoch + 7_919_000_000 * self.global_rank
        )
        if self.recipe.training.fixed_statistics:
            for layer in self.network.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    layer.eval()

    def configure_optimizers(self) -> Any:
        settings = self.recipe.training
        common = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
        optimiser: torch.optim.Optimizer
        if settings.optimiser == "sgd":
            optimiser = torch.optim.SGD(
                self.network.parameters(),
                lr=settings.learning_rate,
                momentum=settings.momentum,
                weight_decay=settings.weight_decay,
            )
        else:
            kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings.optimiser]
            # epsilon 1e-7 is Keras's.
            optimiser = kind(self.network.parameters(), eps=1e-7, **common)
        if settings.schedule == "constant":
            return optimiser
        if settings.schedule == "plateau":
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimiser, factor=settings.plateau_factor, patience=settings.plateau_patience
            )
            watched = {"scheduler": plateau, "monitor": "val_loss", "interval": "epoch"}
            return {"optimizer": optimiser, "lr_scheduler": watched}
        half = self.steps * settings.half_size_epochs

        def work(step: int) -> float:
            # A step at half the side costs a quarter, and counts so: or little of the rate were left for full size.
            return step - 0.75 * min(step, half)

        total = work(self.steps * settings.epochs)
        warm = max(1, int(total) // 25)

        def factor(step: int) -> float:
            if work(step) < warm:
                return min(1.0, (work(step) + 1) / warm)
            done = (work(step) - warm) / max(1, total - warm)
            return 0.5 * (1 + float(torch.cos(torch.tensor(done * torch.pi)))) + 1e-3

        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
