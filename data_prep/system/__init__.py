"""What all folders need of the operating system: atomic files, locks, worker processes, limits, logging, errors.

It imports no other folder of the project. All folders of `data_prep`, `pipeline` and `benchmarks` may import it.
"""
