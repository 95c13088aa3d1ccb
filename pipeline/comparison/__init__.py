"""Methods x seeds: the rows of a comparison, the processes that train them, and the table of their accuracies.

This folder imports `config` and starts training in processes of their own; only `commands` imports it.
"""
