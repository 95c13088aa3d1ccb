"""WebDataset: numbered tar shards, and the index that DALI and our own reader use for random access.

This folder imports `formats.sample`, `images` and `system`; it never imports the RecordIO format.
"""
