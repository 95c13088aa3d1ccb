"""Pictures: the decision regions of trained networks, and a step of SMPL beside a supervised one on the true loss.

The pictures of a descent use the trainer for single steps, so this folder imports `training`. Only `commands` imports
this folder.
"""
