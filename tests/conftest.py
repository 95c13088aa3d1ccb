"""Settings for all tests: one thread in each process, since processes run side by side."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
