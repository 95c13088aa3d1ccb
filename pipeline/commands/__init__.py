"""The commands of `smpl`, one file each: they read options, call the package that does the work, and print the answer.

They may import every other folder; no folder imports them.
"""
