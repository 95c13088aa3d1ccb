"""AutoAugment: a learned table of pairs of ops, one pair drawn for every sample of the batch."""

import torch
from torch import Tensor

from pipeline.data.augment.policies import STRENGTHS, Policy, check_policy, magnitude_fraction
from pipeline.data.augment.pools import Pool
from pipeline.data.augment.sampled_ops import SampledOps
from pipeline.data.augment.stages import Stages
from pipeline.data.sampling.stateless_rng import uniform


class AutoAugment:
    """Every sample draws one sub-policy and goes through its two steps, each with the step's own probability.

    Cubuk et al., CVPR 2019, section 3. Each sub-policy is as likely; an op's sign, where it has one, is drawn too.

    Args:
        policy: sub-policies of two steps; see :mod:`pipeline.data.augment.policies`.
        fill: gray level of what a geometric op uncovers.
    """

    def __init__(self, policy: Policy, fill: int = 128) -> None:
        check_policy(policy)
        names = sorted({name for steps in policy for name, _, _ in steps} - {"Identity"})
        self.pool: Pool = {"Identity": 0.0} | {name: STRENGTHS[name] for name in names}
        self.apply = Stages(self.pool, fill)
        place = {name: index for index, name in enumerate(self.pool)}
        rows = [
            [(place[name], odds, magnitude_fraction(name, level)) for name, odds, level in steps] for steps in policy
        ]
        self._tables = {torch.device("cpu"): torch.tensor(rows, dtype=torch.float32)}

    def __call__(self, images: Tensor, key: int, samples: Tensor) -> Tensor:
        for sampled in self.sample_ops(key, samples):
            images = self.apply(images, sampled)
        return images

    def sample_ops(self, key: int, samples: Tensor) -> list[SampledOps]:
        """Return the two rounds; a step that its probability left out is Identity, the pool's first op."""
        table = self._table(samples.device)
        which, luck = uniform(key, samples, 5).split([1, 4], dim=1)
        steps = table[(which[:, 0] * len(table)).long()]
        return [self._round(*pair) for pair in zip(steps.unbind(1), luck.chunk(2, dim=1), strict=True)]

    def _round(self, step: Tensor, luck: Tensor) -> SampledOps:
        """Read a draw off ``step``, float32 [B, 3] of the table's rows, and ``luck``, float32 [B, 2] in [0, 1)."""
        op, probability, level = step.unbind(1)
        applied = luck[:, 0] < probability
        return SampledOps(self.pool, (op * applied).long(), torch.where(luck[:, 1] < 0.5, -1.0, 1.0), level)

    def _table(self, device: torch.device) -> Tensor:
        """Return float32 [sub-policies, 2, 3]: op, probability and fraction of each step, on ``device``.

        Copied there once, by the first call, which therefore must not be the one that a CUDA graph records.
        """
        if device not in self._tables:
            self._tables[device] = self._tables[torch.device("cpu")].to(device)
        return self._tables[device]
