"""The GPU suite (``make gpu``): four parts that take 13 minutes of one GPU, see docs/gpu.md.

``command.py`` is its command line, ``parts.py`` says what the parts run and how their results are read, ``children.py``
runs them within a time limit, and ``packs.py`` carries the data to a machine without a network.
"""
