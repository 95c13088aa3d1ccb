"""Scores of a trained model: in all, by class, and as tables.

`scoring.py` has the loop over a split, which training uses as well. `class_scores.py` counts with it how often one
class is predicted as another, and `tables.py` turns these counts into scores by class, the most frequent confusions and
text. `report.py` puts together what `smpl evaluate` prints about a `trained_model.py`.

This folder imports `models`, `data`, `config` and `distributed.world`, never `training`, which imports `scoring`.
"""
