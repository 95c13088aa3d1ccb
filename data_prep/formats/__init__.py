"""How samples are stored on disk: WebDataset tars and RecordIO files, each with a writer and a random-access reader.

It may import ``dataset``, ``images`` and ``system``, and the WebDataset writer ``sources.base.ImagePart``.
``sample.py`` is what both formats share. ``inspection``, ``prepare`` and the training package import this folder.
"""
