"""Comparisons of methods over seeds: the variants, the processes that train them, and the table of accuracies.

This folder imports `config` and `methods`, and runs `smpl-train` in other processes; only `commands` imports it.
"""
