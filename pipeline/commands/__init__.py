"""The commands of `smpl`, one file each: they read options, call the package that does the work, and print the answer.

They may import every other folder, and no folder imports them. What needs torch is imported when a command runs, so
that `--help` and a mistyped option answer at once.
"""
