"""Networks by name, one file each; installed packages add others through the entry-point group ``smpl.models``.

To add one, write a file in this folder with a subclass of ``torch.nn.Module`` and add its path to :data:`MODELS` below.
The class must have

* ``Options``, a class attribute: a subclass of :class:`pipeline.options.Options` with the keys of ``model``;
* ``__init__(options, task)``, which gets these options and a :class:`pipeline.task.Task` with the shape of the images
  and the number of classes, and raises UsageError if they do not fit the network;
* ``forward(x)``, from normalized images float [B, C, H, W] to logits [B, classes].

It may have ``initialize_from(batches)``, which computes first weights from training images at the start of a run; see
``training/initialization.py``. Weights that are never trained have ``requires_grad`` off when ``__init__`` returns.

``mlp.py`` is the shortest example. This folder imports `data_prep.system` and, of `pipeline`, only `options`,
`registry` and `task`; `config`, `training`, `evaluation` and `figures` import it.
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
        "fast_conv": "pipeline.models.fast_conv:FastConv",
        "torchvision": "pipeline.models.torchvision_model:TorchvisionModel",
        "timm": "pipeline.models.timm_model:TimmModel",
    },
)
