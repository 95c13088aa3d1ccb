"""Scores of a trained model: the evaluation loop, confusion between classes, and tables for people.

This folder imports `models`, `data` and `distributed.world`, never `training`.
"""
