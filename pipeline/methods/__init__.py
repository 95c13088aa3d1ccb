"""Training methods by name, one file each; installed packages add others by the entry-point group ``smpl.methods``.

A method is mathematics on a global batch. This folder imports `data.batches`, `data.sampling` and the modules of
`pipeline` that all folders share, and never `training`, which imports it and does what methods ask for.
"""

from pipeline.registry import Registry

METHODS = Registry(
    "method",
    "smpl.methods",
    {
        "supervised": "pipeline.methods.supervised:Supervised",
        "fully_supervised": "pipeline.methods.fully_supervised:FullySupervised",
        "pseudo_label": "pipeline.methods.pseudo_label:PseudoLabel",
        "uda": "pipeline.methods.uda:UDA",
        "fixmatch": "pipeline.methods.fixmatch:FixMatch",
        "mpl": "pipeline.methods.mpl:MPL",
        "roleplay": "pipeline.methods.roleplay:RolePlay",
        "smpl": "pipeline.methods.smpl:SMPL",
        "metasemi": "pipeline.methods.metasemi:MetaSemi",
    },
)
