"""One image's bytes: decoding and encoding, strict checks, conversion to plain RGB, and pixel statistics.

This folder knows nothing of data sets or splits and imports only `system`.
"""
