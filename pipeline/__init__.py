"""Train image classifiers from few labels: SMPL, MPL and their baselines."""
