"""WebDataset: numbered tar shards, each with an index for random access that DALI reads too.

It may import ``formats.sample``, ``dataset``, ``images`` and ``system``, the writer also ``sources.base``, and none of
them the RecordIO format. To read:

- ``reader.py`` reads single samples at random positions by the index; it serves training and conversion.
- ``scan.py`` reads one whole tar from its first byte to its last without the index; it serves checks and previews, and
  can go on after damage and report all of it.
"""
