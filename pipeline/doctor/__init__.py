"""The checks of ``smpl doctor``: what would make a run fail on this machine, found before it does.

A check yields results and raises nothing that ends the others; what may hang or crash runs in a process of its own.
This folder imports `data_prep`, `distributed` and, in its child processes alone, torch; only `commands` imports it.
"""
