"""One image at a time: decoding and encoding, the strict checks of PNG and JPEG, conversion to RGB, pixel statistics.

It imports only `system`. The other folders of `data_prep` import it, and `pipeline` its codecs.
"""
