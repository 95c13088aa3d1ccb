"""WebDataset: numbered tar shards, each with an index for random access that DALI reads too.

It may import ``formats.sample``, ``dataset``, ``images`` and ``system``, and never the RecordIO format.
"""
