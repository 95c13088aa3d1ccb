"""Sources whose samples are image files: folders of classes, a CSV table, and a list of the labeled files.

It imports `sources.base`, `splits`, `images` and `system`; `sources` and `sources.imagenet` import it.
"""
