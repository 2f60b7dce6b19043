"""A narrower lung network as a start: of every layer the filters that matter most, with the weights they have.

    python benchmarks/lungs_narrow.py lungs-2.safetensors 0.667 lungs-narrow.safetensors

A filter matters as much as the norm of its weights times the norm of the weights that read it. Trained on with teachers
(`training.teachers`), such a network comes close to the wide one (Li et al., ICLR 2017, arXiv:1608.08710).
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lungsight.networks import LungHeartUNet


def main() -> None:
    """Read, choose, write."""
    source, width, target = Path(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])
    wide, narrow = LungHeartUNet(), LungHeartUNet(width)
    wide.load_state_dict(load_file(source))
    units = [
        unit for unit in wide.modules() if isinstance(unit, nn.Sequential) and isinstance(unit[0], nn.Conv2d)
    ]
    # In order of use: the stem, two units a level, two units a merge, the last.
    convolutions: list[nn.Conv2d] = [unit[0] for unit in units]
    slim = [m[0] for m in narrow.modules() if isinstance(m, nn.Sequential) and isinstance(m[0], nn.Conv2d)]
    norms = [unit[1] for unit in units]
    slim_norms = [
        m[1] for m in narrow.modules() if isinstance(m, nn.Sequential) and isinstance(m[0], nn.Conv2d)
    ]
    levels = len(wide.down)
    last = len(convolutions) - 1
    reads = {index: [(index + 1, 0)] for index in range(last)}
    joins: dict[int, tuple[int, int]] = {}
    for step in range(
        levels - 1
    ):  # merge `step` reads what came before it, then the skip of level `levels - 2 - step`
        first = 1 + 2 * levels + 2 * step
        before, skip = first - 1, 2 * (levels - 1 - step)
        joins[first] = (skip, before)
        reads[skip].append((first, 0))
        reads[before] = [(first, convolutions[skip].out_channels)]
    chosen: dict[int, Tensor] = {}
    for index in range(last):
        own = norms[index].weight.abs() * convolutions[index].weight.flatten(1).norm(dim=1)
        count = convolutions[index].out_channels
        used = sum(
            convolutions[reader].weight[:, start : start + count].transpose(0, 1).flatten(1).norm(dim=1)
            for reader, start in reads[index]
        )
        keep = slim[index].out_channels
        chosen[index] = torch.topk(own * used, keep).indices.sort().values  # type: ignore[operator]
    everything = torch.arange(convolutions[0].in_channels)
    with torch.no_grad():
        for index, (old, new) in enumerate(zip(convolutions, slim, strict=True)):
            if index in joins:
                skip, before = joins[index]
                inputs = torch.cat([chosen[skip], chosen[before] + convolutions[skip].out_channels])
            else:
                inputs = chosen[index - 1] if index else everything
            outputs = chosen.get(index, torch.arange(old.out_channels))
            new.weight.copy_(old.weight[outputs][:, inputs])
            if old.bias is not None and new.bias is not None:
                new.bias.copy_(old.bias[outputs])
            if index < last:
                for name in ("weight", "bias", "running_mean", "running_var"):
                    getattr(slim_norms[index], name).copy_(getattr(norms[index], name)[outputs])
    save_file({name: value.contiguous() for name, value in narrow.state_dict().items()}, target)


if __name__ == "__main__":
    main()
