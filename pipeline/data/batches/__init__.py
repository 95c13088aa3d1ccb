"""What a batch is, and how it is assembled from samples and their views, whichever loader has read them.

This folder imports `data.sampling` and `data.augment`; the two loaders, `methods` and `training` import it.
"""
