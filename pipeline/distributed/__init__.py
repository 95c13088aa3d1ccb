"""Several processes and nodes: the process group, the launcher, how nodes find each other, and stopping by a signal.

This folder imports only `data_prep`. Everything that computes imports `world`; the commands import `launcher` and
`node_env`, and the training loop imports `stop_signal`.
"""
