"""The network fast_conv: its published size, its first weights, and that the frozen ones never move."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from data_prep.system.errors import UsageError
from pipeline.models.fast_conv import FastConv, FastConvOptions
from pipeline.models.whitening import EPSILON, whitening_filters
from pipeline.precision import Precision
from pipeline.task import Task
from pipeline.training.trainer import Trainer
from tests.pipeline.conftest import CPU

SMALL = {"name": "fast_conv", "width": 4}


def fast_conv(side: int = 32, channels: int = 3, classes: int = 10, **options: object) -> FastConv:
    task = Task((channels, side, side), (0.0,) * channels, (1.0,) * channels, classes)
    return FastConv(FastConvOptions.model_validate(options), task)


def correlated(count: int = 64, channels: int = 3, side: int = 12) -> Tensor:
    """Return images float64 [count, C, side, side] whose neighboring pixels and channels are correlated."""
    noise = np.random.default_rng(0).normal(size=(count, channels, side + 1, side + 1)).cumsum(1)
    return torch.from_numpy(noise[:, :, 1:, 1:] + noise[:, :, :-1, 1:] + 0.7 * noise[:, :, 1:, :-1] + 0.3)


def test_it_has_the_published_size() -> None:
    """1.97 million weights: 1,971,616 and the 1,176 of BN's fixed scales and the first layer's bias."""
    model = fast_conv()
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_972_792
    with FlopCounterMode(display=False) as counter:
        model(torch.randn(1, 3, 32, 32))
    assert counter.get_total_flops() == pytest.approx(0.24e9, rel=0.02)
    convolutions = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    assert [conv.out_channels for conv in convolutions] == [24, 64, 64, 256, 256, 256, 256]
    assert [layer.out_channels for layer in fast_conv(width=32).modules() if isinstance(layer, nn.Conv2d)][-1] == 128


@pytest.mark.parametrize(("side", "channels"), [(9, 1), (28, 1), (33, 3)])
def test_it_takes_images_of_nine_pixels_and_more(side: int, channels: int) -> None:
    assert fast_conv(side, channels, width=4)(torch.randn(2, channels, side, side)).shape == (2, 10)


def test_smaller_images_are_refused() -> None:
    message = "model fast_conv: images of 8x8 are too small; it needs 9 pixels a side"
    with pytest.raises(UsageError, match=f"^{message}$"):
        fast_conv(8)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_whitened_patches_have_the_identity_as_covariance(channels: int) -> None:
    images = correlated(channels=channels)
    filters = whitening_filters(images.split(10), 2)
    whitened = nn.functional.conv2d(images, filters).transpose(0, 1).flatten(1).numpy()
    patches = np.lib.stride_tricks.sliding_window_view(images.numpy(), (2, 2), (2, 3))
    rows = patches.transpose(0, 2, 3, 1, 4, 5).reshape(-1, 4 * channels)
    variances = np.linalg.eigvalsh(np.cov(rows, rowvar=False, bias=True))[::-1]
    assert variances.min() > 100 * EPSILON
    covariance = np.cov(whitened, bias=True)
    np.testing.assert_allclose(covariance, np.diag(variances / (variances + EPSILON)), atol=1e-10)
    np.testing.assert_allclose(covariance, np.eye(4 * channels), atol=0.01)


def test_a_direction_without_variance_stays_finite_and_batches_do_not_matter() -> None:
    gray = correlated(channels=1).expand(-1, 3, -1, -1)
    filters = whitening_filters([gray], 2)
    assert filters.abs().max() <= EPSILON**-0.5
    torch.testing.assert_close(whitening_filters(gray.split(7), 2)[:4], filters[:4], rtol=1e-8, atol=1e-8)


def test_the_first_layer_has_the_filters_and_their_negatives() -> None:
    model, images = fast_conv(12, width=4), correlated()
    model.initialize_from(images.float().split(16))
    filters = whitening_filters(images.float().split(16), 2)
    torch.testing.assert_close(model.whiten.weight, torch.cat([filters, -filters]).float())
    assert model.whiten.bias is not None
    assert model.whiten.bias.count_nonzero() == 0


def test_the_convolutions_begin_as_the_identity() -> None:
    model = fast_conv(width=8)
    for group in model.groups:
        for conv in (group.conv1, group.conv2):
            x = torch.randn(2, conv.in_channels, 6, 6)
            copied = min(conv.in_channels, conv.out_channels)
            torch.testing.assert_close(conv(x)[:, :copied], x[:, :copied])
    wider = model.groups[1].conv1
    assert wider.out_channels > wider.in_channels
    assert wider.weight[wider.in_channels :].std() > 0, "the channels beyond are random"


def test_the_logits_are_a_ninth_of_the_classifier_on_the_maxima() -> None:
    model, seen = fast_conv(width=4).eval(), []
    model.head.register_forward_hook(lambda _, given, output: seen.extend([given[0], output]))
    x = torch.randn(2, 3, 32, 32)
    logits = model(x)
    maxima, scores = seen
    torch.testing.assert_close(logits, scores / 9)
    torch.testing.assert_close(maxima, model.groups(nn.functional.gelu(model.whiten(x))).flatten(2).max(2).values)


def test_without_a_bias_the_first_layer_needs_no_gradient() -> None:
    model = fast_conv(width=4, whiten_bias=False)
    assert not [name for name, parameter in model.named_parameters() if "whiten" in name and parameter.requires_grad]
    assert not model.whiten(torch.randn(1, 3, 32, 32)).requires_grad


def test_norms_stay_in_fp32_under_bf16() -> None:
    model = fast_conv(width=4).to(memory_format=torch.channels_last)
    with Precision("bf16", CPU, torch.bfloat16).autocast():
        logits = model(torch.randn(4, 3, 32, 32))
    assert logits.dtype is torch.bfloat16
    assert logits.isfinite().all()
    assert model.groups[0].norm1.running_mean.dtype is torch.float32


def test_frozen_weights_do_not_move_under_decay_and_the_others_do(make_trainer: Callable[..., Trainer]) -> None:
    optimizer = {"lr": 0.1, "weight_decay": 0.5, "decayed": "all"}
    trainer = make_trainer(side=9, method="uda", model=SMALL, optimizer=optimizer)
    network = trainer.networks["model"]
    frozen = {name for name, parameter in network.module.named_parameters() if not parameter.requires_grad}
    assert frozen == {"1.whiten.weight", *(f"1.groups.{group}.norm{n}.weight" for group in range(3) for n in (1, 2))}
    before = {name: tensor.clone() for name, tensor in network.module.named_parameters()}
    trainer.train()
    averaged = dict(trainer.averages["model"].network.named_parameters())
    for name, parameter in network.module.named_parameters():
        assert torch.equal(before[name], parameter) == (name in frozen), name
        assert torch.equal(before[name], averaged[name]) == (name in frozen), name
    held = {
        id(p) for optimizer in network.optimizers.values() for group in optimizer.param_groups for p in group["params"]
    }
    assert held == {id(parameter) for parameter in network.parameters}
