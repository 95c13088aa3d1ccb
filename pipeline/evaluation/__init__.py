"""Scores of a trained model: the loop that training shares, the confusions between classes, and tables for people.

This folder imports `models`, `data`, `config` and `distributed.world`, never `training`, which imports `scoring`.
"""
