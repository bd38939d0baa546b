"""Paths that a user typed: what Snakemake or the file system would take for something else."""

import os
import re
import shutil
from pathlib import Path

from workflow.result_paths import LAST_FAILURE, NAMES_IN_RESULTS, TRACES_OF_A_RUN

# In the working directory: Snakemake keeps its locks, logs and state there.
SNAKEMAKE_FOLDER = ".snakemake"
_MAX_NAME_BYTES = 255
# Snakemake replaces these in the path of every file of a rule, and nothing can prevent it:
# {wildcard}, {wildcard,constraint} and <variable>.
_REPLACED_BY_SNAKEMAKE = re.compile(r"\{\s*[.\w]+\s*(?:,[^/]*)?\}|<[a-z][a-z0-9_]*>")
_REFUSED_CHARACTER = re.compile("[\x00-\x1f\x7f]")
# Snakemake gives the path of Python to a shell without quotes.
_READ_BY_SHELL = re.compile(r"[^\w@%+=:,./~-]")
_URL = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


def problem_of_path(path: str) -> str | None:
    """Why a path cannot be a file of the workflow, whether or not it exists; None if it can.

    The text follows the path in a message.

    >>> problem_of_path("scans/b01.svs")
    >>> problem_of_path("scans/{slide}.svs")
    "contains '{slide}', which Snakemake replaces; rename it, or give a link to it"
    """
    if match := _REFUSED_CHARACTER.search(path):
        return (
            f"contains the control character U+{ord(match.group()):04X}; remove it, or rename the"
            " file"
        )
    try:
        os.fsencode(path)
    except UnicodeEncodeError as error:
        return f"contains U+{ord(path[error.start]):04X}, which is no character; rename the file"
    if match := _REPLACED_BY_SNAKEMAKE.search(path):
        return (
            f"contains {match.group()!r}, which Snakemake replaces; rename it, or give a link to it"
        )
    if _URL.match(path):
        return "is the address of a server; copy the file to this machine"
    may_be_long = 4 * len(path) > _MAX_NAME_BYTES  # a character has at most 4 bytes
    if may_be_long and any(len(os.fsencode(name)) > _MAX_NAME_BYTES for name in path.split("/")):
        return (
            f"has a name of more than {_MAX_NAME_BYTES} bytes, which is too long for a file;"
            " correct or shorten it"
        )
    return None


def problem_of_interpreter(path: str) -> str | None:
    """Why no job can be started with a Python at this path; None if they can.

    >>> problem_of_interpreter("/home/jörg/glands/.venv/bin/python")
    >>> problem_of_interpreter("/my slides/.venv/bin/python")  # doctest: +ELLIPSIS
    "/my slides/.venv/bin/python has ' ' in its path, with which Snakemake starts no job; ..."
    """
    if not (match := _READ_BY_SHELL.search(path)):
        return None
    return (
        f"{path} has {match.group()!r} in its path, with which Snakemake starts no job; rename the"
        " folder and set up again (`rm -rf .venv`, then `make demo`)"
    )


def with_home(path: str) -> str:
    """A path in which `~` or `~name` at the start is replaced by the home folder.

    Raises
    ------
    ValueError
        There is no such user.
    """
    try:
        return os.fspath(Path(path).expanduser()) if path.startswith("~") else path
    except RuntimeError:
        name = path.split("/", maxsplit=1)[0]
        raise ValueError(
            f"{name} is not the home folder of a user; write the whole path, or ./{name}"
        ) from None


def problem_of_file(path: str, typed: str) -> str | None:
    """Why nothing can be read at a path: it does not exist, or its folder may not be read.

    Parameters
    ----------
    path : relative to the working directory
    typed : the path as the user typed it
    """
    try:
        os.stat(path)  # of thousands of files
    except (FileNotFoundError, NotADirectoryError):
        place = "" if path == typed else f" (expected at {path})"
        return f"does not exist{place}{_windows_hint(typed)}"
    except OSError as error:
        return (
            f"cannot be read ({error.strerror}); check the permissions of the file and its folders"
        )
    return None


def problem_in_results(path: str, results: Path) -> str | None:
    """Why a run cannot read a file of its own results; None if it does not write there.

    Snakemake would take the file for the output of a rule, and write it again.

    Parameters
    ----------
    path : relative to the working directory
    results : the folder, which need not exist yet
    """
    folder = os.path.realpath(results) + os.sep
    parent, name = os.path.split(path)
    # The second one is the place of a link that leads out of the folder.
    places = os.path.realpath(path), os.path.join(os.path.realpath(parent), name)
    for place in places:
        name_in_results = place.removeprefix(folder).split(os.sep)[0]
        if place.startswith(folder) and name_in_results in NAMES_IN_RESULTS:
            is_file = place == folder + name_in_results
            where = (
                "is a file that this run writes"
                if is_file
                else f"is in {results / name_in_results}, and this run writes files there"
            )
            return f"{where}; copy it to another folder, or choose other `results`"
    return None


def foreign_results(results: Path) -> list[str]:
    """Messages about files that a run would replace, in a folder without a trace of a run."""
    if any((results / name).exists() for name in TRACES_OF_A_RUN):
        return []
    return [
        f"config results: {results / name} exists, but nothing in {results} shows that a run of"
        " this pipeline wrote it, and this run would replace it; move it away, or name another"
        " folder"
        for name in sorted(NAMES_IN_RESULTS)
        if name != LAST_FAILURE and (results / name).is_file()
    ]


def absolute_place(path: str) -> str:
    """The absolute path, and for a relative one where it starts, for a message."""
    absolute = str(Path(path).absolute())
    if Path(path).is_absolute():
        return absolute
    return f"{absolute} (a relative path starts at the working directory, or at `--directory`)"


def existing_path(path: Path) -> Path:
    """The path itself, or the nearest of its parent folders that exists."""
    absolute = path.resolve()
    return next(folder for folder in (absolute, *absolute.parents) if folder.exists())


def problem_of_output_folder(path: str) -> str | None:
    """Why a folder cannot be made and written to; None if it can, as far as is visible now."""
    try:
        existing = existing_path(Path(path))
        if not existing.is_dir():
            return f"cannot be made: {existing} is a file; give a folder"
        is_writable = os.access(existing, os.W_OK | os.X_OK)
        has_no_disk = shutil.disk_usage(existing).total == 0  # for example /proc
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        return f"cannot be made ({reason}); give another folder"
    if has_no_disk or not is_writable:
        return f"cannot be written: {existing} is not writable for this user; give another folder"
    return None


def _windows_hint(typed: str) -> str:
    if _DRIVE.match(typed):
        return "; this is a path of Windows: give the path that the file has on this system"
    if "\\" in typed:
        return "; write / between folders, not \\"
    return ""
