"""Sources whose samples are image files: a folder of classes, a CSV table, and the list of labeled files.

This folder imports `sources.base`, `sources.archives`, `images` and `system`.
"""
