"""The rules and files that a command line asks for, and what was meant by a misspelt one."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

from tiling.raster.similar_names import similar_name

# Options without a value, after which a word is a target.
_FLAGS = re.compile(r"--|-[npFkR]+|--dry-?run|--printshellcmds|--keep-going|--forceall|--force")
_MIN_SIMILARITY = 0.8


def typed_targets(command_line: Sequence[str]) -> Iterator[str]:
    """Words of a command line that are targets, as far as it is visible without all options."""
    are_targets = False
    for before, word in pairwise(["", *command_line]):
        are_targets = are_targets or before == "--"
        follows_option = before.startswith("-") and not _FLAGS.fullmatch(before)
        if are_targets or not (word.startswith("-") or "=" in word or follows_option):
            yield word


def misspelt_target(
    command_line: Sequence[str],
    names: Iterable[str],
    is_made: Callable[[str], bool] = lambda target: False,
) -> str | None:
    """A line for the first target that is similar to a name and is none; None without one.

    Parameters
    ----------
    names : of rules and files
    is_made : whether a rule makes a file that is not one of the names

    >>> misspelt_target(["-n", "--cores", "2", "previews"], ["preview", "report"])
    'previews is no rule and no file to make; did you mean preview?'
    >>> misspelt_target(["--directory", "previews", "--", "preview"], ["preview"])
    """
    known = list(names)
    for target in typed_targets(command_line):
        meant = similar_name(target, known, min_similarity=_MIN_SIMILARITY)
        if target not in known and meant is not None and not is_made(target):
            return f"{target} is no rule and no file to make; did you mean {meant}?"
    return None
