"""Pictures: decision regions, loss surfaces, and one step of descent.

This folder imports `training` and `evaluation`; only `commands` imports it.
"""
