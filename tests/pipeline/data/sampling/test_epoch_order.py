import torch

from pipeline.data.augment import build_views
from pipeline.data.batches.assemble import Views
from pipeline.data.resident.loader import ResidentLoader
from pipeline.data.sampling.epoch_order import EpochOrder
from pipeline.data.sampling.stateless_rng import derive_key, permutation, random_bits, uniform
from pipeline.distributed.world import World
from tests.pipeline.conftest import CPU, make_config, make_data


def test_numbers_are_pinned() -> None:
    """A change of these numbers would change the results of every earlier run."""
    assert derive_key(0, 1, "x") == -5550601728349266126
    assert random_bits(5, torch.arange(2), 1).tolist() == [[-371861127037631947], [-6893182575793277493]]
    assert permutation(derive_key(1, "a"), 10).tolist() == [8, 3, 6, 0, 2, 4, 9, 1, 7, 5]


def test_the_numbers_of_a_sample_do_not_depend_on_its_batch() -> None:
    samples = torch.arange(100)
    together = uniform(7, samples, 5)
    assert torch.equal(together[40:60], uniform(7, samples[40:60], 5))
    assert torch.equal(together.flip(0), uniform(7, samples.flip(0), 5))


def test_numbers_are_uniform_and_uncorrelated() -> None:
    numbers = uniform(derive_key(0, "test"), torch.arange(50_000), 4)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert torch.allclose(numbers.mean(0), torch.tensor(0.5), atol=0.01)
    assert torch.allclose(torch.corrcoef(numbers.T), torch.eye(4), atol=0.02)
    assert len(random_bits(3, torch.arange(50_000), 1).unique()) == 50_000


def test_each_epoch_is_a_permutation_of_its_own() -> None:
    order = EpochOrder(0, "labeled", 13, CPU)
    epochs = [order.at(13 * number, 13).tolist() for number in range(4)]
    assert all(sorted(epoch) == list(range(13)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_the_stream_does_not_depend_on_how_it_is_read() -> None:
    whole = EpochOrder(3, "unlabeled", 7, CPU).at(0, 60)
    order = EpochOrder(3, "unlabeled", 7, CPU)
    assert torch.equal(whole, torch.cat([order.at(start, 4) for start in range(0, 60, 4)]))
    assert torch.equal(whole[33:50], EpochOrder(3, "unlabeled", 7, CPU).at(33, 17))


def test_every_world_size_sees_the_same_global_batches() -> None:
    config, data = make_config(batch_size=8), make_data()
    weak, strong = build_views(config.augment, 8, 8)
    views = Views(weak, weak, strong)

    def batches(size: int) -> list[torch.Tensor]:
        loaders = [
            ResidentLoader(data.labeled, data.unlabeled, views, World(rank, size, CPU), batch_size=8, mu=2, seed=5)
            for rank in range(size)
        ]
        parts = [loader.batch(3).tensors() for loader in loaders]
        return [torch.cat(tensors) for tensors in zip(*parts, strict=True)]

    for size in (2, 4):
        assert all(torch.equal(one, many) for one, many in zip(batches(1), batches(size), strict=True))
