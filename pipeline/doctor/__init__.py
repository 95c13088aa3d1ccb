"""The checks of ``smpl doctor``, which find what would make a run fail on this machine.

A check yields results, and an error in one check does not end the others. What may hang or crash runs in a process of
its own.
This folder imports `data_prep`, `distributed` and, in its child processes alone, torch; only `commands` imports it.
"""
