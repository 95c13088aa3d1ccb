"""ImageNet from its official archives or from `train/` and `val/` folders, with the labels of its validation images.

It imports `sources.base`, `sources.image_files`, `sources.archives`, `storage` and `system`; only `sources` imports it.
"""
