"""ImageNet from its official archives or from `train/` and `val/` folders, with the labels of its validation images.

This folder imports `sources.image_files` and `sources.archives`.
"""
