"""Read the files that sources are published in: tar archives, tars inside of tars, and pickles, all as untrusted data.

Nothing is unpacked to disk and no pickle is executed. It imports `storage` and `system`; the sources import it.
"""
