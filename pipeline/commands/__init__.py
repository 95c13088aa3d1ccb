"""The commands of `smpl`, one file each: they read options, call the package that does the work, and print the answer.

No other folder imports a command.
"""
