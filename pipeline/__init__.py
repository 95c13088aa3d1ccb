"""Train image classifiers from few labels: SMPL, MPL and their baselines, on prepared data sets.

The command `smpl-train` starts in `train.py`, and the command group `smpl` in `cli.py`. The other files here are small
modules that several folders use, such as the run folder, checkpoints and the task of a network. This package reads
prepared sets through `data_prep`, which never imports it; `benchmarks` imports this package.
"""
