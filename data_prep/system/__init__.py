"""What every folder needs of the operating system: atomic files, file handles, workers, limits, errors, types.

This is the ground floor: it imports no other folder of the package.
"""
