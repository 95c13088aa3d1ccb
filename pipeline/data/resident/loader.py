"""Batches from splits that are in memory, on the training device."""

from pipeline.data.batches.assemble import RankSamples, Views, make_batch, rank_slots
from pipeline.data.batches.batch import Batch
from pipeline.data.resident.split import ResidentSplit
from pipeline.data.sampling.block_order import sample_order
from pipeline.data.sampling.epoch_order import EpochOrder
from pipeline.distributed.world import World


class ResidentLoader:
    """A :class:`pipeline.data.batches.assemble.Loader` of splits on the device; it augments a whole batch at a time.

    Args:
        labeled: the labeled split.
        unlabeled: the unlabeled split, or None for a method that uses no unlabeled image.
        views: the augmentation.
        world: the rank and the number of ranks.
        batch_size: number of labeled images in a global batch.
        mu: number of unlabeled images for each labeled one.
        seed: the seed of the order and of the views.
        block: number of shards that are shuffled together; 0 for all.
    """

    def __init__(
        self,
        labeled: ResidentSplit,
        unlabeled: ResidentSplit | None,
        views: Views,
        world: World,
        *,
        batch_size: int,
        mu: int,
        seed: int,
        block: int = 0,
    ) -> None:
        self.labeled, self.unlabeled, self.views, self.world, self.seed = labeled, unlabeled, views, world, seed
        self.batch_size, self.mu = batch_size, mu
        self.labeled_order = self._order("labeled", labeled, block)
        self.unlabeled_order = self._order("unlabeled", unlabeled, block) if unlabeled else None

    def batch(self, step: int) -> Batch:
        places = rank_slots(self.labeled_order, self.world, step, self.batch_size)
        images = self.labeled.images[places.samples]
        labeled = RankSamples(places, self.labeled.labels[places.samples], {"labeled": images})
        if self.unlabeled is None or self.unlabeled_order is None:
            return make_batch(self.views, self.seed, step, labeled, None)
        places = rank_slots(self.unlabeled_order, self.world, step, self.batch_size * self.mu)
        images = self.unlabeled.images[places.samples]
        unlabeled = RankSamples(places, self.unlabeled.labels[places.samples], {"weak": images, "strong": images})
        return make_batch(self.views, self.seed, step, labeled, unlabeled)

    def sample_ids(self, step: int) -> dict[str, list[int]]:
        samples = rank_slots(self.labeled_order, self.world, step, self.batch_size).samples
        ids = {"labeled": self.labeled.ids[samples].tolist()}
        if self.unlabeled is not None and self.unlabeled_order is not None:
            samples = rank_slots(self.unlabeled_order, self.world, step, self.batch_size * self.mu).samples
            ids["unlabeled"] = self.unlabeled.ids[samples].tolist()
        return ids

    def close(self) -> None:
        """Do nothing: this loader does not read ahead."""

    def _order(self, purpose: str, split: ResidentSplit, block: int) -> EpochOrder:
        return sample_order(self.seed, purpose, len(split), self.world.device, split.layout, block)
