"""What a fuzz run knows about one parser."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FuzzedParser:
    """A parser of untrusted bytes, with a source of inputs.

    Attributes
    ----------
    name : of the parser, one word
    reads : what it reads, for the table
    prepare : writes valid examples into an empty folder; returns a function that makes one input
        from random numbers and gives it to the parser
    declared : exceptions that the parser may raise
    share : inputs in a whole run of 1 190 000
    """

    name: str
    reads: str
    prepare: Callable[[Path], Callable[[random.Random], None]]
    declared: tuple[type[Exception], ...]
    share: int = 20_000
