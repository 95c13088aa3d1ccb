import pytest
import torch
from torch import nn

from data_prep.system.errors import UsageError
from pipeline.config.command_line import read_config
from pipeline.config.resolve import resolve
from pipeline.config.schema import Config
from pipeline.models.conv_large import ConvLarge, ConvLargeOptions
from pipeline.models.small_conv import SmallConv, SmallConvOptions
from pipeline.models.wide_resnet import WideResNet, WideResNetOptions
from pipeline.precision import Precision
from pipeline.task import Task
from pipeline.training.factory import build_module

CIFAR = Task((3, 32, 32), (125.0, 123.0, 114.0), (63.0, 62.0, 67.0), 10)


def parameters(depth: int, width: int, classes: int = 10) -> int:
    task = Task(CIFAR.shape, CIFAR.mean, CIFAR.std, classes)
    return sum(p.numel() for p in WideResNet(WideResNetOptions(depth=depth, width=width), task).parameters())


def test_wide_resnets_have_the_published_numbers_of_parameters() -> None:
    assert parameters(28, 2) == pytest.approx(1.47e6, rel=0.005)
    assert parameters(28, 8, 100) == pytest.approx(23.4e6, rel=0.005)
    assert parameters(28, 10) == pytest.approx(36.5e6, rel=0.005)


def test_a_depth_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"6n \+ 4"):
        parameters(27, 2)


def network(seed: int, name: str = "model") -> torch.nn.Module:
    config: Config = resolve({"dataset": "cifar10", "method": "uda"}, {"seed": seed, "model": {"depth": 10}})
    return build_module(config, name, CIFAR)


def test_initial_weights_are_a_function_of_the_seed_and_the_network() -> None:
    first, again, other, teacher = (network(0), network(0), network(1), network(0, "teacher"))
    weight = lambda module: module[1].head.weight  # noqa: E731
    assert torch.equal(weight(first), weight(again))
    assert not torch.equal(weight(first), weight(other))
    assert not torch.equal(weight(first), weight(teacher))


def test_bytes_and_floats_of_the_same_images_give_the_same_logits() -> None:
    module = network(0).eval()
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(module(images), module(images.float()))


def test_norms_stay_in_fp32_under_reduced_precision() -> None:
    module = network(0).train()
    images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)
    with Precision("bf16", torch.device("cpu"), torch.bfloat16).autocast():
        assert module(images).dtype is torch.bfloat16
    norm = module[1].norm
    assert {norm.weight.dtype, norm.bias.dtype, norm.running_mean.dtype, norm.running_var.dtype} == {torch.float32}


def conv_large(side: int = 32, channels: int = 3, **options: float) -> ConvLarge:
    task = Task((channels, side, side), (125.0,) * channels, (62.0,) * channels, 10)
    return ConvLarge(ConvLargeOptions.model_validate(options), task)


def test_conv_large_has_the_published_layers() -> None:
    layers = list(conv_large().modules())
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    assert [conv.out_channels for conv in convolutions] == [128, 128, 128, 256, 256, 256, 512, 256, 128]
    assert [conv.kernel_size[0] for conv in convolutions] == [3, 3, 3, 3, 3, 3, 3, 1, 1]
    pooled = [layer for layer in layers if isinstance(layer, nn.MaxPool2d)]
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    assert len(convolutions) + len(pooled) + len(["global average"]) + len(linear) == 13
    assert sum(parameter.numel() for parameter in conv_large().parameters()) == pytest.approx(3.1e6, rel=0.01)


@pytest.mark.parametrize(("side", "channels"), [(12, 1), (28, 1), (32, 3)])
def test_conv_large_takes_images_of_twelve_pixels_and_more(side: int, channels: int) -> None:
    model = conv_large(side, channels, width=4)
    assert model(torch.randn(2, channels, side, side)).shape == (2, 10)
    assert [layer.out_channels for layer in model.modules() if isinstance(layer, nn.Conv2d)][-3:] == [16, 8, 4]


def test_conv_large_refuses_images_that_its_convolution_without_padding_does_not_fit_into() -> None:
    message = "model conv_large: images of 8x8 are too small; it needs 12 pixels a side"
    with pytest.raises(UsageError, match=f"^{message}$"):
        conv_large(8)
    with pytest.raises(UsageError, match="11x11"):
        conv_large(11)


def test_conv_large_drops_whole_channels() -> None:
    model = conv_large(width=32, dropout=0.5).train()
    kept: list[torch.Tensor] = []  # the share of pixels that is kept of every image's every channel
    for layer in model.modules():
        if isinstance(layer, nn.Dropout2d):
            layer.register_forward_hook(lambda _, given, output: kept.append((output != 0).flatten(2).float().mean(2)))
    model(torch.randn(8, 3, 32, 32))
    for share in kept:
        assert set(share.unique().tolist()) == {0, 1}
        assert share.mean() == pytest.approx(0.5, abs=0.15)
    assert [share.shape for share in kept] == [(8, 32), (8, 64)]


def small_conv(height: int, width: int) -> SmallConv:
    return SmallConv(SmallConvOptions(width=4), Task((1, height, width), (0.0,), (1.0,), 3))


def test_small_conv_takes_images_of_two_pixels_and_more_and_refuses_points() -> None:
    assert small_conv(2, 2)(torch.randn(2, 1, 2, 2)).shape == (2, 3)
    with pytest.raises(UsageError, match=r"^model small_conv: images of 1x2 are too small; it needs 2 pixels a side$"):
        small_conv(1, 2)


@pytest.mark.parametrize("shape", [(1, 1, 2), (1, 1, 1), (3, 7, 9)])
def test_a_wide_resnet_takes_images_of_any_size(shape: tuple[int, int, int]) -> None:
    task = Task(shape, (0.0,) * shape[0], (1.0,) * shape[0], 3)
    assert WideResNet(WideResNetOptions(depth=10, width=1), task)(torch.randn(2, *shape)).shape == (2, 3)


@pytest.mark.parametrize("units", [0, -3])
def test_a_layer_without_units_is_refused(units: int) -> None:
    with pytest.raises(UsageError, match=rf"model.hidden.1: should be greater than 0, not {units}$"):
        resolve({}, {"model": {"name": "mlp", "hidden": [8, units]}})


NUMBERS = ["optimizer.lr", "optimizer.clip", "networks.model.lr", "model.dropout", "finetune.lr"]
SECTIONS = [(name, f"{name}.weight") for name in ("uda", "fixmatch", "pseudo_label", "metasemi", "mpl", "smpl")]


@pytest.mark.parametrize("number", [".inf", ".nan", "-.inf"])
@pytest.mark.parametrize(("method", "key"), [("supervised", key) for key in NUMBERS] + SECTIONS)
def test_a_number_that_is_none_is_refused(method: str, key: str, number: str) -> None:
    with pytest.raises(UsageError, match=rf"^command line: {key}"):
        read_config("cifar10-4k-smpl", {"method": method}, (f"{key}={number}",))
