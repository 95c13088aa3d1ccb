"""Files at URLs: transfers that are retried, checked downloads into the cache, and URLs without their secrets.

It imports only `system`. `sources` downloads published files with it, and `dataset` mirrors remote sets.
"""
