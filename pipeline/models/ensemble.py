"""An ensemble of networks: the mean of their logits."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Ensemble(nn.ModuleDict):
    """Several networks by name. Maps images [B, C, H, W] to the mean of their logits, [B, classes]."""

    def __init__(self, members: Mapping[str, nn.Module]) -> None:
        super().__init__(members)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(x)[0]

    def logits(self, x: Tensor) -> list[Tensor]:
        """Return the mean [B, classes] of the members' logits, then those of each member; each member runs once."""
        members = [member(x) for member in self.values()]
        return [torch.stack(members).mean(0), *members]


def combine(members: Mapping[str, nn.Module]) -> nn.Module:
    """Return the ensemble of several members, or the only member itself."""
    return Ensemble(members) if len(members) > 1 else next(iter(members.values()))
