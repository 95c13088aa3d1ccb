"""Which samples a step uses, and its random numbers: pure functions of the seed, the step and the sample.

This folder imports nothing else of `pipeline`. The rest of `data`, `methods` and `training` import it.
"""
