"""Several processes and nodes: the process group, the launcher, how nodes find each other, and stopping by a signal.

This folder imports only `data_prep`. Everything that computes imports `world`. In `training`, the train command imports
`launcher` and `node_env`, each rank and its session import `launcher`, and the training loop imports `stop_signal`.
`doctor` also imports `node_env`, and `python_process.py` imports `stop_signal`.
"""
