"""The networks, layer by layer where the Keras form of the paper differs from PyTorch's habits."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from lungsight.errors import ConfigError  # noqa: E402
from lungsight.networks import NETWORKS, Mirrored, build, check, count_parameters  # noqa: E402
from lungsight.networks.ours import LungsCNN, LungUNet  # noqa: E402
from lungsight.networks.paper import PaperCNN, PaperUNet, _UpConvolution, scaled  # noqa: E402


def test_the_u_net_has_the_parameters_of_the_keras_form() -> None:
    """What Keras's summary of that model prints, convolution by convolution."""
    with torch.device("meta"):  # shapes alone: to draw 31 million weights takes seconds
        network, grey = PaperUNet(), PaperUNet(channels=1)
    assert count_parameters(network) == 31_032_837
    assert count_parameters(grey) == 31_031_685
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    contracting = [1792, 36928, 73856, 147584, 295168, 590080, 1180160, 2359808, 4719616, 9438208]
    up = [2097664, 524544, 131200, 32832]
    merging = [4719104, 2359808, 1179904, 590080, 295040, 147584, 73792, 36928]
    assert [count_parameters(layer) for layer in convolutions] == contracting + up + merging + [1154, 3]


def test_the_diagnosis_network_has_keras_sizes() -> None:
    network = PaperCNN()
    shapes = []
    for layer in network.features:
        layer.register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape[1:])))
    assert network(torch.zeros(1, 3, 246, 236)).shape == (1, 1)
    assert shapes[0] == (32, 244, 234)
    assert shapes[2] == (32, 122, 117)
    assert shapes[3] == (64, 120, 115)
    assert shapes[5] == (64, 60, 57)
    assert count_parameters(network) == 896 + 18_496 + (64 * 60 * 57 * 64 + 64) + 65


def test_the_2x2_convolution_is_padded_at_the_far_end() -> None:
    layer = _UpConvolution(1, 1)
    x = torch.arange(1.0, 10.0).reshape(1, 1, 3, 3)
    doubled = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    nn.init.zeros_(layer.convolution.bias)
    for place, down, right in (((0, 0), 0, 0), ((0, 1), 0, 1), ((1, 0), 1, 0), ((1, 1), 1, 1)):
        nn.init.zeros_(layer.convolution.weight)
        layer.convolution.weight.data[0, 0][place] = 1
        wanted = torch.zeros_like(doubled)
        wanted[..., : 6 - down, : 6 - right] = doubled[..., down:, right:]
        assert torch.equal(layer(x), wanted)


def test_dropout_is_at_the_two_deepest_levels() -> None:
    found = {name: m.p for name, m in PaperUNet(width=0.03).named_modules() if isinstance(m, nn.Dropout)}
    assert found == {"down.3.4": 0.5, "down.4.4": 0.5}


def test_weights_start_as_keras_draws_them() -> None:
    torch.manual_seed(0)
    network = PaperUNet(width=0.5)
    for name, layer in network.named_modules():
        if not isinstance(layer, nn.Conv2d):
            continue
        assert layer.bias is not None
        assert not layer.bias.any()
        if name == "last":
            assert layer.weight.abs().max() <= math.sqrt(6 / (2 + 1))
            continue
        # Cut at two deviations of the normal, which is then widened to have he_normal's own deviation.
        deviation = math.sqrt(2 / (layer.in_channels * layer.kernel_size[0] ** 2))
        assert layer.weight.abs().max() <= 2 * deviation / 0.8796 * 1.001
        if layer.weight.numel() > 5000:
            assert float(layer.weight.detach().std()) == pytest.approx(deviation, rel=0.03)
    bound = math.sqrt(6 / (9 * (3 + 32)))
    assert bound * 0.9 < PaperCNN(size=(64, 64)).features[0].weight.abs().max() <= bound


def test_widths_scale_filters_and_never_to_none() -> None:
    assert [scaled(64, width) for width in (1.0, 0.5, 0.26, 0.001)] == [64, 32, 17, 1]
    with torch.device("meta"):
        assert PaperUNet(width=0.25).down[4][0].out_channels == 256
        assert count_parameters(PaperUNet(width=0.5)) < 31_032_837 / 3.9


OURS = [name for name, kind in NETWORKS.items() if not kind.__module__.endswith("cited")]


def narrow(name: str, width: float) -> float:
    """EfficientNet-Lite0 has one width."""
    return 1.0 if name == "efficientnet-lite0" else width


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_network_takes_its_input_and_learns_everywhere(name: str, channels: int) -> None:
    torch.manual_seed(0)
    size = (64, 96)
    network = build(name, width=narrow(name, 0.1), channels=channels, size=size)
    logits = network(torch.rand(2, channels, *size))
    kind = NETWORKS[name]
    assert logits.shape == ((2, kind.answers, *size) if kind.gives_masks else (2, kind.answers))
    logits.square().sum().backward()
    idle = [key for key, value in network.named_parameters() if value.grad is None]
    assert not idle


def test_memory_layout_does_not_change_the_answer() -> None:
    torch.manual_seed(0)
    network = PaperCNN(width=0.1, size=(32, 48)).eval()
    x = torch.rand(2, 3, 32, 48)
    plain = network(x)
    network.to(memory_format=torch.channels_last)
    assert torch.allclose(network(x.contiguous(memory_format=torch.channels_last)), plain, atol=1e-5)


def test_exposure_hardly_changes_a_lung_mask() -> None:
    torch.manual_seed(0)
    network = LungUNet(width=0.2).eval()
    x = torch.rand(1, 1, 64, 64)
    assert torch.allclose(network(x), network(0.7 * x + 0.2), atol=0.05)


def test_a_mirrored_network_does_not_know_left_from_right() -> None:
    torch.manual_seed(0)
    network = LungUNet(width=0.2).eval()
    x = torch.rand(2, 1, 64, 64)
    assert not torch.allclose(network(x.flip(3)), network(x).flip(3), atol=1e-3)
    assert torch.allclose(Mirrored(network)(x.flip(3)), Mirrored(network)(x).flip(3), atol=1e-5)


def test_the_logit_is_the_mean_of_the_evidence() -> None:
    torch.manual_seed(0)
    network = LungsCNN(width=0.2).eval()
    x = torch.rand(3, 1, 64, 128)
    evidence = network.evidence(x)
    assert evidence.shape == (3, 1, 4, 8)
    assert torch.allclose(network(x), evidence.mean(dim=(2, 3)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "unet"}, "there is no network 'unet'. Known: paper-unet"),
        ({"name": "paper-unet", "size": (100, 96)}, "multiples of 16; after the crop the input is 100 x 96"),
        ({"name": "lung-unet", "size": (48, 64)}, "multiples of 32"),
        ({"name": "paper-cnn", "size": (8, 64)}, "of 10 or more;"),
        ({"name": "paper-cnn", "masks": True}, "gives a score, the recipe wants masks. Use paper-unet or"),
        ({"name": "lung-unet", "masks": False}, "gives masks, the recipe wants a score. Use paper-cnn or"),
    ],
)
def test_a_network_that_does_not_fit_is_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        check(**arguments)  # type: ignore[arg-type]
    assert message in str(error.value)


def test_the_smallest_sizes_that_are_allowed_work() -> None:
    for name, kind in NETWORKS.items():
        size = (kind.smallest, kind.smallest)
        assert (
            build(name, width=narrow(name, 0.05), size=size).eval()(torch.zeros(1, 3, *size)).isfinite().all()
        )
