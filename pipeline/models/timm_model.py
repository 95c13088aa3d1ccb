"""Networks of timm, the library of image models, with their published weights; timm is an optional dependency."""

from collections.abc import Collection, Mapping
from importlib import import_module
from typing import Any, Self

from torch import Tensor, nn

from data_prep.system.errors import UsageError
from pipeline.models.backbone import Backbone, BackboneOptions
from pipeline.task import Task


class TimmOptions(BackboneOptions):
    @classmethod
    def architectures(cls) -> list[str]:
        """Return names such as resnet18, and names with the tag of their weights, such as resnet18.a1_in1k."""
        timm = load_timm()
        return [*timm.list_models(), *timm.list_models(pretrained=True)]


class TimmModel(Backbone):
    """A classification network of timm, built for the task's image size where the architecture fixes it."""

    Options = TimmOptions
    library = "timm"

    def build(self, architecture: str, task: Task) -> nn.Module:
        return _create(architecture, task, pretrained=False)

    def classifier(self) -> Collection[str]:
        described: Any = self.network
        names = described.pretrained_cfg["classifier"]
        if not names:
            raise ValueError("it has no classifier")
        return [names] if isinstance(names, str) else names

    def published(self, architecture: str, task: Task) -> Mapping[str, Tensor]:
        return _create(architecture, task, pretrained=True).state_dict()

    def translate(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the weights as timm converts files of other libraries and of other image sizes."""
        rules = vars(import_module(type(self.network).__module__)).get("checkpoint_filter_fn")
        try:
            return rules(dict(weights), self.network) if rules else weights
        except Exception:  # a file of another network: the comparison that follows names a tensor
            return weights

    def synchronize_norms(self) -> Self:
        """Replace each BN layer by one with statistics over all ranks; timm's own kinds of BN keep their activation."""
        self.network = load_timm().layers.convert_sync_batchnorm(self.network)
        return self


def load_timm() -> Any:
    """Return the module timm. Raises UsageError if it is not installed."""
    try:
        return import_module("timm")
    except ModuleNotFoundError:
        raise UsageError("model timm: needs the package timm; pip install smpl-pipeline[timm]") from None


def _create(architecture: str, task: Task, *, pretrained: bool) -> nn.Module:
    timm = load_timm()
    published = timm.get_pretrained_cfg(architecture)
    fixed = {"img_size": task.shape[1:]} if published and published.fixed_input_size else {}
    return timm.create_model(architecture, pretrained=pretrained, num_classes=task.classes, in_chans=3, **fixed)
