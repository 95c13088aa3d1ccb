"""Looking at a prepared set without changing it: ``smpl-data verify`` and ``smpl-data show``.

It may import ``dataset``, ``formats``, ``images`` and ``system``. Only the command line imports it.
"""
