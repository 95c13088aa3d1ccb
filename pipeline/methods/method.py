"""What a method is: the networks it needs, the views it needs, and its step as phases."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol

from pydantic import BaseModel
from torch import Tensor
from torch.nn import functional as F

from pipeline.data.batches.batch import Batch
from pipeline.methods.batchnorm_passes import PASSES
from pipeline.methods.phases import Gradient, Phases


class Model(Protocol):
    """A network as methods see it: images [N, C, H, W] as stored to logits [N, classes], at least float32."""

    def __call__(self, images: Tensor) -> Tensor: ...

    @property
    def rate(self) -> float:
        """The optimizer's learning rate of this step."""

    def slope(self, images: Tensor, direction: Gradient) -> tuple[Tensor, Tensor]:
        """Return logits and their derivative along a direction in the space of weights, both [N, classes]."""


class Method:
    """Base class of all methods.

    Args:
        networks: a model for each name in ``networks_needed``.
        options: the validated options of each section in ``sections``.
        label_smoothing: of the labeled loss; never of what the meta-gradient's feedback measures.
        batch_statistics: what BN sees together, a name in :data:`pipeline.methods.batchnorm_passes.PASSES`.
    """

    networks_needed: ClassVar[tuple[str, ...]] = ("model",)
    evaluated: ClassVar[tuple[str, ...]] = ("model",)
    """The networks whose averages are evaluated and exported; several are an ensemble of their mean logits."""
    views: ClassVar[tuple[Literal["weak", "strong"], ...]] = ("weak", "strong")
    """The views of unlabeled images that the method looks at; none means that it looks at no unlabeled image."""
    needs_truth: ClassVar[bool] = False
    """Whether it needs the true class of every unlabeled image, as an upper bound does."""
    meta_weight: ClassVar[str | None] = None
    """The key that switches the meta-gradient's term off when it is 0."""
    sections: ClassVar[Mapping[str, type[BaseModel]]] = {}
    """Configuration sections that the method reads, by name."""

    def __init__(
        self,
        networks: Mapping[str, Model],
        options: Mapping[str, Any],
        label_smoothing: float = 0,
        batch_statistics: str = "joint",
    ) -> None:
        self.networks, self.options, self.label_smoothing = networks, options, label_smoothing
        self.passes = PASSES[batch_statistics]
        self.state: dict[str, Tensor] = {}
        """Scalars that outlive a step; saved and restored with the run."""

    @classmethod
    def waits(cls, options: Mapping[str, Any]) -> Mapping[str, int]:  # noqa: ARG003
        """Return the steps that a network sits out before its schedule begins, by name."""
        return {}

    @classmethod
    def inner_rates(cls, options: Mapping[str, Any]) -> Mapping[str, float]:  # noqa: ARG003
        """Return the learning rate of a network's ``"descent"`` rule where it is not the optimizer's own."""
        return {}

    @classmethod
    def slopes(cls, options: Mapping[str, Any]) -> Iterable[str]:  # noqa: ARG003
        """Return the names of the networks whose :meth:`Model.slope` the method may ask for."""
        return ()

    def step(self, step: int) -> Phases:
        """Yield the phases of training step number ``step``, counted from 0."""
        raise NotImplementedError

    def logits(self, network: str, *images: Tensor) -> Sequence[Tensor]:
        """Return the logits of each batch of images that one loss is made of; BN sees together what is configured."""
        return self.passes(self.networks[network], images)

    def labeled_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)

    def labeled_error(self, network: str, batch: Batch) -> Tensor:
        """What the feedback h compares before and after an update: CE without label smoothing."""
        return F.cross_entropy(self.networks[network](batch.labeled), batch.labels)


def ramp(step: int, length: int) -> float:
    """Return the factor of a loss that grows linearly from 1 / ``length`` at step 0 to 1."""
    return min(1.0, (step + 1) / length) if length else 1.0
