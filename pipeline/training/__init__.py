"""The training of a run: `rank.py` is a process of it, `session.py` its course, `trainer.py` the loop over the steps.

`modes.py` is what `smpl-train` does with its options, `preflight.py` the checks before a run, and `results.py` its end.
This folder knows the interface of methods and never a method's name; `commands`, `figures` and `train.py` import it.
"""
