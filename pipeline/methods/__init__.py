"""Training methods by name, one file each; installed packages add others by the entry-point group ``smpl.methods``.

A method defines the losses and the updates of a training step, on the global batch. To add one, write a file in this
folder with a subclass of :class:`pipeline.methods.method.Method` and add its path to :data:`METHODS` below. The
subclass must have

* ``step(step)``, a generator that yields the phases of one training step (``phases.py``) and receives their results;
* ``sections``, the classes of its options by configuration section, if it has options;
* ``networks_needed``, ``evaluated`` and ``views``, where the defaults of ``Method`` do not fit: one network called
  ``model``, and a weak and a strong view of each unlabeled image.

``fixmatch.py`` is a short example; CONTRIBUTING.md lists the tests and the documentation that belong to a method.

This folder imports `data.batches`, `data.sampling` and the modules of `pipeline` that all folders share. It never
imports `training`, which imports it and runs the phases.
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
