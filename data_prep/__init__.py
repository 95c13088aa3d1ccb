"""Prepare data sets: from raw images to checked WebDataset shards with a manifest.

It imports neither torch nor the training package. That one reads prepared sets through ``dataset``, ``formats`` and
``images``, and prepares a missing set through ``prepare``. The commands are in ``cli.py``.
"""
