"""RecordIO: for each split one ``.rec`` file, its ``.idx`` index and its ``.lst`` list of labels.

It may import ``formats.sample``, ``dataset``, ``images`` and ``system``, and never the WebDataset format.
"""
