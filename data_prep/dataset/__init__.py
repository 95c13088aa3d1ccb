"""What a prepared set is: its manifest, the check of its checksums, and the local mirror of a set at a URL.

It may import ``images``, ``storage`` and ``system``, and does not know how a set is made. ``formats``, ``inspection``,
``prepare`` and the training package import it.
"""
