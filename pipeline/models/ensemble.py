"""Several networks that vote."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Ensemble(nn.ModuleDict):
    """Networks by name; the output is the mean of their logits."""

    def __init__(self, members: Mapping[str, nn.Module]) -> None:
        super().__init__(members)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(x)[0]

    def logits(self, x: Tensor) -> list[Tensor]:
        """Return the mean [B, classes] of the members' logits, then those of each member; each member runs once."""
        members = [member(x) for member in self.values()]
        return [torch.stack(members).mean(0), *members]


def combine(members: Mapping[str, nn.Module]) -> nn.Module:
    """Return the only member, or the ensemble of several."""
    return Ensemble(members) if len(members) > 1 else next(iter(members.values()))
