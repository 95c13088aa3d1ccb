"""Methods x seeds: the variants of a comparison, the processes that train them, and the table of their accuracies.

This folder imports `config` and `methods`, and starts `smpl-train` in processes of its own; only `commands` imports it.
"""
