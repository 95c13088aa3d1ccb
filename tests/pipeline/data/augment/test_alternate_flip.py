"""With the flip ``alternate`` an image is mirrored in every second epoch, as a function of seed and place alone."""

from typing import Any

import pytest
import torch
from torch import Tensor

from data_prep.system.errors import UsageError
from pipeline.config.resolve import resolve
from pipeline.data.augment import AugmentOptions, build_views, flip_alternately
from pipeline.data.batches.assemble import Views
from pipeline.data.resident.loader import ResidentLoader
from pipeline.data.resident.split import ResidentSplit
from pipeline.distributed.world import World
from tests.pipeline.conftest import ALONE, CPU

SIZES = {"labeled": 12, "unlabeled": 24}
"""Three steps of 4 + 8 images are an epoch of both."""
PLAIN = {"pad": 0, "ops": 0, "cutout": 0}


def split(size: int) -> ResidentSplit:
    """Return images whose pixels are all different, so that an image tells who it is and whether it is mirrored."""
    images = torch.arange(size * 4, dtype=torch.uint8).view(size, 1, 1, 4)
    return ResidentSplit(torch.arange(size), images, torch.zeros(size, dtype=torch.int64))


def loader(flip: Any = "alternate", world: World = ALONE, seed: int = 5) -> ResidentLoader:
    weak, strong = build_views(AugmentOptions(flip=flip, **PLAIN), 8, 8)
    views = Views(weak, weak, strong, alternate_flip=flip == "alternate")
    return ResidentLoader(split(12), split(24), views, world, batch_size=4, mu=2, seed=seed)


def mirrored_in(epoch: int, purpose: str, found: ResidentLoader) -> dict[int, bool]:
    """Return by sample whether it is mirrored in an epoch."""
    batches = [found.batch(step) for step in range(3 * epoch, 3 * epoch + 3)]
    images = torch.cat([getattr(batch, purpose) for batch in batches]).flatten(1).int()
    return {int(row.min()) // 4: bool(row[0] > row[3]) for row in images}


@pytest.mark.parametrize("purpose", ["labeled", "weak", "strong"])
def test_an_image_is_mirrored_in_exactly_one_of_two_consecutive_epochs(purpose: str) -> None:
    first, second, third = (mirrored_in(epoch, purpose, loader()) for epoch in range(3))
    assert len(first) == (12 if purpose == "labeled" else 24)
    assert all(second[sample] != first[sample] for sample in first)
    assert third == first
    assert 0 < sum(first.values()) < len(first), "a part of them begins mirrored"


def test_a_random_flip_has_no_such_order() -> None:
    first, second = (mirrored_in(epoch, "weak", loader(flip=True)) for epoch in range(2))
    assert any(second[sample] == first[sample] for sample in first)


def test_the_views_of_an_image_begin_independently_and_the_seed_chooses() -> None:
    weak, strong, other = (
        mirrored_in(0, purpose, loader(seed=seed)) for purpose, seed in (("weak", 5), ("strong", 5), ("weak", 6))
    )
    assert weak != strong
    assert weak != other


def test_about_half_of_the_images_begin_mirrored() -> None:
    images, samples = torch.arange(2).view(1, 1, 1, 2).expand(10_000, -1, -1, -1), torch.arange(10_000)
    flipped = flip_alternately(images, 7, samples, torch.zeros_like(samples))
    assert flipped[:, 0, 0, 0].float().mean() == pytest.approx(0.5, abs=0.02)


def test_any_step_on_any_rank_gives_the_same_images() -> None:
    """So a resumed run and a run on two ranks see what an undisturbed one sees."""

    def parts(world: World) -> tuple[Tensor, ...]:
        return loader(world=world).batch(4).tensors()

    halves = zip(*(parts(World(rank, 2, CPU)) for rank in range(2)), strict=True)
    for whole, both in zip(parts(ALONE), halves, strict=True):
        assert torch.equal(whole, torch.cat(both))


def test_another_word_is_refused() -> None:
    message = "command line: augment.flip: should be true, false or alternate, not 'sometimes'"
    with pytest.raises(UsageError, match=f"^{message}$"):
        resolve({}, {"augment": {"flip": "sometimes"}})
