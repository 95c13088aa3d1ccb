"""A process of multiprocessing that must not outlive its parent: a parent that is killed cannot stop its children."""

import multiprocessing
import threading
from collections.abc import Callable


def when_parent_ends(action: Callable[[], object]) -> None:
    """Call the action, in a thread of this process, when the process that started this one has ended in any way."""
    threading.Thread(target=_wait_for_parent, args=(action,), daemon=True).start()


def _wait_for_parent(action: Callable[[], object]) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    action()
