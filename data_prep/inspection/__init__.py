"""Looking at a prepared set without changing it: `smpl-data verify` and `smpl-data show`.

This folder imports `dataset`, `formats` and `images`; only the command line imports it.
"""
