"""Which images are labeled, unlabeled or held out: how many of each class, and which, as a function of the seed.

It may import ``system`` alone. ``prepare``, ``sources`` and the options of trainings import it.
"""
