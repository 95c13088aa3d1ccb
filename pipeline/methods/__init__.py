"""Training methods by name, one file each; other people's come through the entry-point group."""

from pipeline.registry import Registry

METHODS = Registry(
    "method",
    "smpl.methods",
    {
        "supervised": "pipeline.methods.supervised:Supervised",
        "uda": "pipeline.methods.uda:UDA",
        "mpl": "pipeline.methods.mpl:MPL",
        "smpl": "pipeline.methods.smpl:SMPL",
    },
)
