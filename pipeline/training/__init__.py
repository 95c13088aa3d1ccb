"""The training of a run, from the options of `smpl-train` to the exported model.

`train_command.py` is what `smpl-train` does after it has read its options. It calls the checks of `preflight.py` and
starts the ranks. Each rank is a process that runs `rank.py`, which calls `session.py`; that trains with the loop over
the steps in `trainer.py`, then scores and exports the model by `results.py`. This folder knows the interface of methods
and never a method's name; `commands`, `figures` and `train.py` import it.
"""
