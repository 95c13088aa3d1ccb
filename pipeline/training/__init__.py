"""The trainer: it runs the phases of a method on any number of ranks, and saves, resumes, evaluates and reports.

This folder knows what a method is and never a method's name. `commands`, `figures` and `train.py` import it.
"""
