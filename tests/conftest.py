"""For all tests: one thread a process, so that processes side by side do not wait for each other."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
