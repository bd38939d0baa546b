"""Memory of freed tensors stays in the process of a training on a CPU."""

import platform
import subprocess
import sys

import pytest

BLOCK = "bytes([1]) * (40 * 2**20)"
PAGES_OF_SECOND_BLOCK = """
import resource
from semimoe.devices import keep_freed_memory
{call}
{block}  # above the largest size that glibc keeps by itself, 32 MiB
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
{block}
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="an option of glibc")
def test_a_second_block_gets_the_memory_of_the_first_one() -> None:
    pages = {}
    for call in ("", "keep_freed_memory()"):
        program = PAGES_OF_SECOND_BLOCK.format(call=call, block=BLOCK)
        output = subprocess.run(
            [sys.executable, "-c", program], check=True, capture_output=True, text=True
        ).stdout
        pages[call] = int(output)
    few, many = 100, 1000
    assert pages["keep_freed_memory()"] < few
    assert pages[""] > many
