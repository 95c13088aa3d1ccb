"""RecordIO: one `.rec` file a split, its `.idx` index, and the `.lst` list of labels.

This folder imports `formats.sample`, `images` and `system`; it never imports the WebDataset format.
"""
