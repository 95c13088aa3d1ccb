"""What a batch is: the images that a method's losses are written on."""

from dataclasses import KW_ONLY, dataclass, field

from torch import Tensor


@dataclass(eq=False)
class Batch:
    """A batch, or a micro-batch: an equal slice of it.

    B labeled and U = mu * B unlabeled images, each [*, C, H, W]: pictures uint8, points float32. A method that does not
    ask for a view finds it empty.
    """

    labeled: Tensor
    """View of the labeled images: weak unless the recipe says otherwise."""
    labels: Tensor
    """int64 [B]."""
    weak: Tensor
    """Weak view of the unlabeled images."""
    strong: Tensor
    """Strong view of the same images."""
    truth: Tensor
    """int64 [U], the hidden true classes, -1 where unknown: for diagnosis, never for a loss."""
    slots: Tensor
    """int64 [U], the places of the unlabeled samples in the global batch."""
    _: KW_ONLY
    key: int = 0
    """Of random choices about samples: ``uniform(key, slots, draws)`` is the same in any micro-batch, on any rank."""
    metrics: dict[str, Tensor] = field(default_factory=dict)
    """Scalars for the log, on the device; see :meth:`report`."""

    def report(self, **values: Tensor) -> None:
        """Log means over this micro-batch; the engine averages them over micro-batches and ranks."""
        self.metrics |= {name: value.detach() for name, value in values.items()}

    def split(self, parts: int) -> list["Batch"]:
        """Cut into ``parts`` micro-batches of equal size."""
        pieces = zip(*(tensor.tensor_split(parts) for tensor in self.tensors()), strict=True)
        return [Batch(*piece, key=self.key) for piece in pieces]

    def tensors(self) -> tuple[Tensor, ...]:
        return self.labeled, self.labels, self.weak, self.strong, self.truth, self.slots
