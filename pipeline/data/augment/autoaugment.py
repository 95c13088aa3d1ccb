"""AutoAugment: a learned table of pairs of ops, one pair sampled for every image of the batch."""

import torch
from torch import Tensor

from pipeline.data.augment.policies import STRENGTHS, Policy, check_policy, magnitude_fraction
from pipeline.data.augment.pools import OFF, Ops
from pipeline.data.augment.sampled_ops import SampledOps
from pipeline.data.augment.stages import Stages
from pipeline.data.sampling.stateless_rng import uniform


class AutoAugment:
    """Apply one sub-policy to each sample: two operations, each with a probability of its own.

    Source: Cubuk et al., CVPR 2019, section 3. All sub-policies are equally likely. If an op has a sign, either sign is
    equally likely.

    Args:
        policy: sub-policies of two operations; see :mod:`pipeline.data.augment.policies`.
        fill: gray level, 0..255, of the pixels that a geometric op uncovers.

    Raises:
        ValueError: the policy is empty, or one of its operations is invalid.
    """

    def __init__(self, policy: Policy, fill: int = 128) -> None:
        check_policy(policy)
        names = sorted({name for steps in policy for name, _, _ in steps} - {"Identity"})
        self.pool: Ops = {"Identity": OFF} | {name: STRENGTHS[name] for name in names}
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
        """Return the sampled ops of both rounds.

        An operation that is not applied becomes Identity, which is the first op of the pool.
        """
        table = self._table(samples.device)
        which, chance = uniform(key, samples, 5).split([1, 4], dim=1)
        steps = table[(which[:, 0] * len(table)).long()]
        return [self._round(*pair) for pair in zip(steps.unbind(1), chance.chunk(2, dim=1), strict=True)]

    def _round(self, step: Tensor, chance: Tensor) -> SampledOps:
        """Return the ops of one round.

        Args:
            step: float32 [B, 3], each sample's row of the table.
            chance: float32 [B, 2], uniform in [0, 1): whether the op is applied, and its sign.
        """
        op, probability, fraction = step.unbind(1)
        applied = chance[:, 0] < probability
        sign = torch.where(chance[:, 1] < 0.5, -1.0, 1.0)
        unread = chance  # no policy has Cutout
        return SampledOps(self.pool, (op * applied).long(), sign, fraction, center=unread)

    def _table(self, device: torch.device) -> Tensor:
        """Return float32 [sub-policies, 2, 3]: op, probability and fraction of each operation, on ``device``.

        The first call copies the table there, so it must not be the call that a CUDA graph records.
        """
        if device not in self._tables:
            self._tables[device] = self._tables[torch.device("cpu")].to(device)
        return self._tables[device]
