"""The resident loader: images are decoded once and stay on the training device.

This folder imports `data.batches` and `data.sampling`; `data.training_splits` imports it.
"""
