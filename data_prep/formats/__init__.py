"""How samples are stored on disk: WebDataset tars and RecordIO files, each with a reader and a writer.

`sample.py` holds what both formats have in common. This folder imports only `images` and `system`.
"""
