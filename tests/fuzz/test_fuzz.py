"""A short part of the fuzz run of each parser, with a fixed seed."""

import logging
import warnings
from pathlib import Path

import pytest
from all_parsers import PARSERS
from fuzz import InputTimer
from fuzz_worker import NO_INPUT, run_inputs

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


def test_the_first_input_has_the_same_limits_as_all_others() -> None:
    timer = InputTimer()
    assert timer.excess(NO_INPUT, now_s=100.0, cpu_s=30.0) is None, "imports do not count"
    assert timer.excess(0, now_s=101.0, cpu_s=30.0) is None
    assert timer.excess(0, now_s=106.5, cpu_s=35.5) == "more than 5 s"
    assert timer.excess(1, now_s=107.0, cpu_s=36.0) is None
    assert timer.excess(1, now_s=128.0, cpu_s=36.1) == "waits"
