"""Ranks and nodes: the process group, the launcher, where nodes meet, and the signal that stops a run.

`world` is imported everywhere; the other files are imported by the commands alone.
"""
