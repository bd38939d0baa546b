"""A short part of the fuzz run of each parser, with a fixed seed."""

import logging
import warnings
from pathlib import Path

import pytest
from all_parsers import PARSERS
from fuzz_worker import run_inputs

_INPUTS = 60
_ALWAYS_REFUSED = {"set", "configuration"}
# Of its inputs 1.5 % are refused: there may be none among so few.
_SELDOM_REFUSED = {"ome-xml"}


@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_reads_or_refuses_random_inputs_and_raises_nothing_else(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about damaged files
            refused = run_inputs(PARSERS[name], tmp_path, 2, range(_INPUTS))
    finally:
        logging.disable(logging.NOTSET)
    assert refused < _INPUTS or name in _ALWAYS_REFUSED
    assert refused or not PARSERS[name].declared or name in _SELDOM_REFUSED
