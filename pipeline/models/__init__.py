"""Networks by name, one file each; installed packages add others through the entry-point group ``smpl.models``.

A network is built from its options and a task, and takes normalized images. This folder imports `data_prep.system`,
`registry` and `task`, and nothing else of `pipeline`; `training`, `evaluation` and `figures` import it.
"""

from pipeline.registry import Registry

MODELS = Registry(
    "model",
    "smpl.models",
    {
        "mlp": "pipeline.models.mlp:MLP",
        "wide_resnet": "pipeline.models.wide_resnet:WideResNet",
        "small_conv": "pipeline.models.small_conv:SmallConv",
        "conv_large": "pipeline.models.conv_large:ConvLarge",
        "torchvision": "pipeline.models.torchvision_model:TorchvisionModel",
        "timm": "pipeline.models.timm_model:TimmModel",
    },
)
