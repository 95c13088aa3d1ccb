"""Prepare data sets: from raw images to checked WebDataset shards with a manifest.

It imports neither torch nor the training package, which reads prepared sets through ``dataset`` and ``formats``. The
commands are in ``cli.py``.
"""
