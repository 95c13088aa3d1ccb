"""A batch: the images and labels from which a method computes its losses."""

from dataclasses import KW_ONLY, dataclass, field

from torch import Tensor


@dataclass(eq=False)
class Batch:
    """A batch, or a micro-batch, which is an equal slice of it.

    It has B labeled and U = mu * B unlabeled images of shape [C, H, W]: uint8 pictures or float32 points. A view that
    the method does not use is empty. Batches are compared and hashed by identity, so that they can be keys of a dict.
    """

    labeled: Tensor
    """The view of the labeled images, [B, C, H, W]; it is weak unless the recipe says otherwise."""
    labels: Tensor
    """The classes of the labeled images, int64 [B]."""
    weak: Tensor
    """The weak view of the unlabeled images, [U, C, H, W]."""
    strong: Tensor
    """The strong view of the same images, [U, C, H, W]."""
    truth: Tensor
    """The true classes of the unlabeled images, int64 [U], -1 if unknown; for metrics and the upper bound only."""
    slots: Tensor
    """The slots of the unlabeled images, int64 [U]. A slot is a position in the global batch of all ranks."""
    _: KW_ONLY
    key: int = 0
    """The key of the method's random choices: ``uniform(key, slots, draws)`` is the same on any number of ranks."""
    metrics: dict[str, Tensor] = field(default_factory=dict)
    """Scalars to log, on the device; see :meth:`report`."""

    def report(self, **values: Tensor) -> None:
        """Log means over this micro-batch. The engine averages them over micro-batches and ranks."""
        self.metrics |= {name: value.detach() for name, value in values.items()}

    def split(self, parts: int) -> list["Batch"]:
        """Return ``parts`` micro-batches of equal size."""
        pieces = zip(*(tensor.tensor_split(parts) for tensor in self.tensors()), strict=True)
        return [Batch(*piece, key=self.key) for piece in pieces]

    def tensors(self) -> tuple[Tensor, ...]:
        return self.labeled, self.labels, self.weak, self.strong, self.truth, self.slots
