"""Memory that was freed is used again, not asked for anew."""

import subprocess
import sys

CODE = """
import resource, torch
from pipeline.allocator import keep_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(64 << 20, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
{call}
faults()
print(faults())
"""


def page_faults(call: str) -> int:
    done = subprocess.run([sys.executable, "-c", CODE.format(call=call)], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_a_great_block_that_was_freed_costs_no_page_the_second_time() -> None:
    assert page_faults("keep_memory()") < 10 < page_faults("")
