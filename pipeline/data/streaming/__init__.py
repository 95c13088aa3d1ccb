"""The streaming loaders: samples are read by random access from tar or RecordIO files and decoded a few steps ahead.

This folder imports `data.batches` and `data.sampling`; `data.training_splits` imports it.
"""
