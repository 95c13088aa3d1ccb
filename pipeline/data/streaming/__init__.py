"""The streaming loaders: samples are read at random from tars or records and decoded a few steps ahead.

This folder imports `data.batches` and `data.sampling`.
"""
