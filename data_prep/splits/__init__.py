"""Who gets a label: how many images of each class, and which of them, as a pure function of the seed.

This folder imports only `system`; `prepare` and the sources import it.
"""
