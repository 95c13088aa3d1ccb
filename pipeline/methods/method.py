"""What a method is: the networks and the views that it needs, and its training step as a series of phases."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol

from pydantic import BaseModel
from torch import Tensor
from torch.nn import functional as F

from data_prep.system.errors import UsageError
from pipeline.methods.batchnorm_passes import PASSES
from pipeline.methods.phases import Gradient, Phases


class Model(Protocol):
    """A network as methods see it: it maps stored images [N, C, H, W] to logits [N, classes] in at least float32."""

    def __call__(self, images: Tensor) -> Tensor: ...

    @property
    def rate(self) -> float:
        """The optimizer's learning rate in this step."""

    def directional_derivative(self, images: Tensor, direction: Gradient) -> tuple[Tensor, Tensor]:
        """Return logits and their derivative along a direction in weight space, both [N, classes]."""


class Method:
    """Base class of all methods.

    Args:
        networks: a model for each name in ``networks_needed``.
        options: the validated options of each section in ``sections``.
        label_smoothing: label smoothing of the labeled loss, 0..1. The feedback h is measured without it.
        batch_statistics: which images share the statistics of batch normalization, a name in
            :data:`pipeline.methods.batchnorm_passes.PASSES`.
        ramp: steps over which the weight of the unlabeled loss grows; see :meth:`ramp`.
        unlabeled: U, the number of unlabeled images in the global batch of a step.
    """

    networks_needed: ClassVar[tuple[str, ...]] = ("model",)
    """Names of the networks to build."""
    evaluated: ClassVar[tuple[str, ...]] = ("model",)
    """Names of the networks whose averages are evaluated and exported; several form an ensemble."""
    views: ClassVar[tuple[Literal["weak", "strong"], ...]] = ("weak", "strong")
    """The views of the unlabeled images that the method uses; if empty, it uses no unlabeled image."""
    needs_truth: ClassVar[bool] = False
    """Whether the method needs the true class of every unlabeled image, as an upper bound does."""
    meta_weight: ClassVar[str | None] = None
    """The configuration key that switches the meta term off when it is 0; None for a method without such a term."""
    meta_options: ClassVar[tuple[str, ...]] = ()
    """The other configuration keys that only the meta term reads; without the term they make no difference."""
    sections: ClassVar[Mapping[str, type[BaseModel]]] = {}
    """The options of each configuration section that the method reads, by name."""

    def __init_subclass__(cls) -> None:
        for old, new in {"waits": "start_steps", "slopes": "differentiated_forward"}.items():
            if hasattr(cls, old):
                raise UsageError(f"method {cls.__name__} in {cls.__module__}: rename its {old} to {new}")

    def __init__(
        self,
        networks: Mapping[str, Model],
        options: Mapping[str, Any],
        label_smoothing: float = 0,
        batch_statistics: str = "joint",
        ramp: int = 0,
        unlabeled: int = 1,
    ) -> None:
        self.networks, self.options, self.label_smoothing = networks, options, label_smoothing
        self.ramp_length, self.unlabeled = ramp, unlabeled
        self.passes = PASSES[batch_statistics]
        self.state: dict[str, Tensor] = {}
        """Scalars that are kept from step to step; they are saved and restored with the run."""

    @classmethod
    def start_steps(cls, options: Mapping[str, Any]) -> Mapping[str, int]:  # noqa: ARG003
        """Return the step at which a network starts to learn, by name; 0 for a network that is not named."""
        return {}

    @classmethod
    def inner_rates(cls, options: Mapping[str, Any]) -> Mapping[str, float]:  # noqa: ARG003
        """Return the learning rate of the ``"descent"`` rule by network; other networks use their optimizer's rate."""
        return {}

    @classmethod
    def differentiated_forward(cls, options: Mapping[str, Any]) -> Iterable[str]:  # noqa: ARG003
        """Return the names of the networks whose :meth:`Model.directional_derivative` the method may call."""
        return ()

    def step(self, step: int) -> Phases:
        """Yield the phases of training step number ``step``, counted from 0."""
        raise NotImplementedError

    def logits(self, network: str, *images: Tensor) -> Sequence[Tensor]:
        """Return the logits [N_i, classes] of each batch of images [N_i, C, H, W] from which one loss is computed.

        ``batch_statistics`` says whether these batches share the statistics of batch normalization.
        """
        return self.passes(self.networks[network], images)

    def labeled_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy with label smoothing, from logits [N, classes] and labels int64 [N]."""
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)

    def ramp(self, step: int) -> float:
        """Return the factor of the unlabeled loss in ``step``, which is the same for every method.

        It grows linearly from 1 / length at step 0 to 1 at step length - 1; if the length is 0, it is always 1.
        """
        return min(1.0, (step + 1) / self.ramp_length) if self.ramp_length else 1.0
