"""Random inputs for one parser, in a process of its own with a limit of memory.

`fuzz.py` starts it, reads a line of JSON for each fault, and sees in a small file which input is
being parsed.
"""

import json
import logging
import mmap
import os
import random
import re
import resource
import struct
import sys
import traceback
import warnings
from pathlib import Path

from all_parsers import PARSERS
from fuzzed_parser import FuzzedParser

MEMORY_BYTES = 1 << 30
# Instead of the number of an input: the process still imports and prepares.
NO_INPUT = -1


def random_of(parser: str, seed: int, number: int) -> random.Random:
    """The random numbers of an input: they depend on nothing else."""
    return random.Random(f"{parser} {seed} {number}")


def run_inputs(parser: FuzzedParser, folder: Path, seed: int, numbers: range) -> int:
    """Some inputs in this process; returns how many the parser refused."""
    input_from, refused = parser.prepare(folder), 0
    for number in numbers:
        try:
            input_from(random_of(parser.name, seed, number))
        except parser.declared:
            refused += 1
    return refused


def _limit_memory() -> None:
    used = int(re.search(r"VmSize:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) << 10  # type: ignore[index]
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, used + MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    """Parse inputs `first` to `end`; arguments: parser, seed, first, end, folder, state file."""
    name, seed, first, end, folder, state_file = sys.argv[1:]
    parser, work = PARSERS[name], Path(folder)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    input_from = parser.prepare(work)
    with Path(state_file).open("r+b") as file:
        state = mmap.mmap(file.fileno(), 16)
    _limit_memory()
    refused = 0
    for number in range(int(first), int(end)):
        struct.pack_into("<qq", state, 0, number, refused)
        try:
            input_from(random_of(name, int(seed), number))
        except parser.declared:
            refused += 1
        except Exception as error:  # this is what the run looks for
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(place.filename).name}:{place.lineno}"
            text = f"{type(error).__name__}: {str(error)[:200]}"
            fault = {"input": number, "error": text, "where": where, "kind": type(error).__name__}
            print(json.dumps(fault), flush=True)
    struct.pack_into("<qq", state, 0, int(end), refused)
    rss_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    print(json.dumps({"peak_bytes": rss_bytes}), flush=True)
    sys.stdout.flush()
    os._exit(0)  # libraries that damaged input has confused must not fail at the end


if __name__ == "__main__":
    main()
