"""The command `snakemake` of this project: Snakemake, after a check of what the user typed.

Snakemake ends with a traceback at some words that users type, and ignores others without a message.
Here they are put into the form that Snakemake reads, with a remark, or refused by name.
"""

import errno
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from semimoe.setting_problems import shortened
from workflow.config.configuration import Configuration

_CONFIG_OPTIONS = ("--config", "-C")
_KEY = re.compile(r"[a-zA-Z_][\w-]*\w")  # as Snakemake reads it
_DOTTED_KEY = re.compile(r"[a-zA-Z_][\w-]*(\.[a-zA-Z_][\w-]*)+")
_NEEDED_BYTES = 1 << 20
_MAX_SETTINGS_BYTES = 1 << 20


# Environment variable with the process whose command line `main` checked.
_CHECKED_PROCESS = "GLAND_PIPELINE_CHECKED_PROCESS"


class CommandLineError(ValueError):
    """A command line that cannot be meant."""


class CorrectedCommandLine(NamedTuple):
    """A command line that Snakemake reads as it was meant.

    Attributes
    ----------
    words : options, then `--`, then rules and files to make
    remarks : what was changed, a line for each change
    """

    words: list[str]
    remarks: list[str]


def main() -> None:
    """Run Snakemake; the exit status is 1 if the command line or a folder cannot be used."""
    try:
        words, remarks = corrected(sys.argv[1:])
        check_configuration_files(words)
        check_folders()
    except CommandLineError as error:
        sys.exit(f"snakemake: {error}")
    for remark in remarks:
        print(f"snakemake: {remark}", file=sys.stderr)
    sys.argv[1:] = words  # the Snakefile reads them too
    os.environ[_CHECKED_PROCESS] = str(os.getpid())
    from snakemake.cli import main as run_snakemake

    run_snakemake()


def check_if_bypassed(words: Sequence[str]) -> str | None:
    """Check what still can be checked if Snakemake was started without `main`.

    Returns
    -------
    str or None
        A remark for the user; None if `main` was called.

    Raises
    ------
    CommandLineError
        See `check_configuration_files` and `check_folders`.
    """
    if os.environ.get(_CHECKED_PROCESS) == str(os.getpid()):
        return None
    # With this option Snakemake has changed the working directory already.
    if not any(word.startswith(("-d", "--directory")) for word in words):
        check_configuration_files(words)
    check_folders()
    return (
        "WARNING Snakemake was started without the check of its command line (`python -m "
        "snakemake`, or a snakemake of another environment), so `--config tiles.mpp_um=1` and "
        "targets after `--config` are not understood; start it as `.venv/bin/snakemake`"
    )


def corrected(words: Sequence[str]) -> CorrectedCommandLine:
    """Join all values of `--config`, nest dotted keys, and separate targets from values.

    >>> corrected(["-n", "--config", "tiles.mpp_um=1", "preview", "--config", "seed=2"]).words
    ['-n', '--config', 'tiles={"mpp_um": "1"}', 'seed=2', '--', 'preview']

    Raises
    ------
    CommandLineError
        A word among the values is neither a value nor a target, or a key is no name.
    """
    options, values, targets, after_dashes = _separated(words)
    remarks = []
    if sum(word in _CONFIG_OPTIONS for word in options) > 1:
        remarks.append("the values of all --config are used")
    for target in targets:
        remarks.append(f"{target} is read as a rule or file to make, as in `-- {target}`")
    words_of_options = [word for word in options if word not in _CONFIG_OPTIONS]
    nested = [_nested(value) for value in values]
    config = ["--config", *nested] if values else []
    all_targets = [*targets, *after_dashes]
    return CorrectedCommandLine(
        [*words_of_options, *config, *(["--", *all_targets] if all_targets else [])], remarks
    )


def check_configuration_files(words: Sequence[str]) -> None:
    """Check that the files of `--configfile` can be read, and that no key is given twice.

    Raises
    ------
    CommandLineError
        A file is missing, no UTF-8 text, no YAML, or names a key twice.
    """
    for name in _configuration_files(words):
        path = Path(name)
        if not path.is_file():
            raise CommandLineError(f"--configfile {name}: no such file")
        if path.stat().st_size > _MAX_SETTINGS_BYTES:
            raise CommandLineError(f"--configfile {name}: too large for a file of settings")
        try:
            node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
            reason = shortened(" ".join(str(error).split()), 200)
            raise CommandLineError(f"--configfile {name}: is no YAML file ({reason})") from None
        if repeated := next(_repeated_keys(node), None):
            raise CommandLineError(f"--configfile {name}: {repeated} is given twice; join the two")


def check_folders() -> None:
    """Check that Snakemake's folders for temporary and cached files have free space.

    Raises
    ------
    CommandLineError
        One of them is full or cannot be written.
    """
    from snakemake.common import get_appdirs

    cache = Path(get_appdirs().user_cache_dir)
    # Not only `tempfile.gettempdir()`: libraries use TMPDIR even where it is full.
    temporary = Path(os.environ.get("TMPDIR") or tempfile.gettempdir())
    try:
        cache.mkdir(parents=True, exist_ok=True)
        _write_and_delete(cache)
    except OSError as error:
        raise CommandLineError(
            f"{cache}, the cache of Snakemake, cannot be written ({error.strerror});"
            f" {_remedy(error)}set the environment variable XDG_CACHE_HOME to another folder"
        ) from None
    try:
        _write_and_delete(temporary)
    except OSError as error:
        raise CommandLineError(
            f"{temporary}, the folder of temporary files, cannot be written ({error.strerror});"
            f" {_remedy(error)}set the environment variable TMPDIR to another folder"
        ) from None


def _remedy(error: OSError) -> str:
    return "free some space, or " if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""


def _write_and_delete(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(_NEEDED_BYTES))


def _separated(words: Sequence[str]) -> tuple[list[str], list[str], list[str], list[str]]:
    """Options (with each `--config`), values of `--config`, targets among them, words after `--`.

    Raises
    ------
    CommandLineError
        A word among the values is neither a value nor a target.
    """
    words_before_dashes = list(words[: words.index("--")]) if "--" in words else list(words)
    options, values, targets = [], [], []
    are_values = False
    for word in words_before_dashes:
        option, equals, value = word.partition("=")
        if word.startswith("-"):
            are_values = option in _CONFIG_OPTIONS
            options.append(option if are_values else word)
            if are_values and equals:
                values.append(value)
                are_values = False
        elif are_values and "=" in word.lstrip("="):
            values.append(word)
        elif are_values:
            _check_target(word)
            targets.append(word)
        else:
            options.append(word)
    return options, values, targets, list(words[len(words_before_dashes) + 1 :])


def _check_target(word: str) -> None:
    is_key = word.split("=", maxsplit=1)[0] in Configuration.model_fields
    if "=" in word or is_key or word.endswith((".tsv", ".csv", ".yaml", ".yml", ".xlsx")):
        raise CommandLineError(
            f"--config {word}: KEY=VALUE is needed, without blanks, for example"
            " slides=my_slides.tsv (a file of settings is given with --configfile)"
        )


def _nested(value: str) -> str:
    """`tiles={"mpp_um": "1"}` for `tiles.mpp_um=1`: Snakemake reads no dotted keys."""
    key, _, text = value.partition("=")
    if _KEY.fullmatch(key):
        return value
    if not _DOTTED_KEY.fullmatch(key):
        raise CommandLineError(
            f"--config {value}: {key!r} is no key of the configuration; see docs/configuration.md"
        )
    group, *names = key.split(".")
    content: object = text
    for name in reversed(names):
        content = {name: content}
    return f"{group}={json.dumps(content, ensure_ascii=False)}"


def _configuration_files(words: Sequence[str]) -> Iterator[str]:
    follows_option = False
    for word in words:
        option, equals, value = word.partition("=")
        if word.startswith("-"):
            follows_option = option in ("--configfile", "--configfiles") and not equals
            if option in ("--configfile", "--configfiles") and equals:
                yield value
        elif follows_option:
            yield word


def _repeated_keys(node: yaml.Node | None, group: str = "") -> Iterator[str]:
    """Keys that a mapping of a YAML file holds twice: the first value would be lost."""
    if not isinstance(node, yaml.MappingNode):
        return
    names = set()
    for key, value in node.value:
        name = f"{group}{key.value}"
        if name in names:
            yield name
        names.add(name)
        yield from _repeated_keys(value, f"{name}.")


if __name__ == "__main__":
    main()
