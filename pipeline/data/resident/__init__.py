"""The resident loader: images that are decoded once and stay on the training device.

This folder imports `data.batches` and `data.sampling`.
"""
