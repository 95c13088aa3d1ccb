"""Pictures: the decision regions of trained networks, and a step of SMPL beside a supervised one on the true loss.

The pictures of a descent take single steps by the trainer, so this folder imports `training`, which never imports it;
only `commands` does.
"""
