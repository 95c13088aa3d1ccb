"""Benchmarks of speed and memory: the commands ``smpl bench ...``.

They may import ``data_prep`` and ``pipeline``; only ``pipeline/cli.py`` imports them. Results that we publish are kept
as JSON in ``benchmarks/results``, from which ``smpl bench page`` writes ``docs/performance.md``.
"""
