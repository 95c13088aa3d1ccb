"""Train image classifiers from few labels: SMPL, MPL and their baselines, on prepared data sets.

The command `smpl-train` starts in `train.py` and the group `smpl` in `cli.py`; the other files here are small words
that every folder shares. This package reads prepared sets through `data_prep`, which never imports it; `benchmarks`
imports this one.
"""
