import pytest
import torch

from pipeline.config import Config
from pipeline.engine.build import build_module
from pipeline.engine.precision import Precision
from pipeline.models.wide_resnet import WideResNet, WideResNetOptions
from pipeline.resolve import resolve
from pipeline.task import Task

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
