"""The GPU suite (``make gpu``): tests and benchmarks that need a GPU, split into pieces that several calls can share.

``command.py`` is its command line, ``pieces.py`` lists what runs, ``runner.py`` runs it within a time limit, and
``targets.py`` compares the results with the targets. It may import everything; nothing imports it but
``benchmarks.cli``.
"""
