"""The frame of every job of a rule: its log, and the record of what it made its outputs from."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workflow.job_log import job_log
from workflow.job_record import (
    JobInput,
    JobRecord,
    RecordedInput,
    plain_settings,
    recorded_inputs,
    store_checksum,
)
from workflow.result_paths import store_of_record

# Parameters that are no settings: the inputs of a job, and values that name folders of the user.
_NO_SETTINGS = ("made_from", "paths")


@contextmanager
def recorded_job(snakemake: Any) -> Iterator[None]:  # noqa: ANN401  # of Snakemake
    """Run a job with its log, and write its record last.

    A store of an earlier run is removed first. Its record was removed before, so a store that is
    removed in part never counts as finished.

    Parameters
    ----------
    snakemake : the object that Snakemake gives to scripts; the rule has the output `record` and
        the parameter `made_from`
    """
    with job_log(snakemake.log[0]):
        from tiling.stores.atomic_store import remove_store

        inputs = [JobInput(*values) for values in snakemake.params.made_from]
        at_start = recorded_inputs(inputs)
        path = Path(snakemake.output.record)
        store = store_of_record(path)
        if store is not None:
            remove_store(store)
        yield
        _check_unchanged(inputs, at_start)
        JobRecord(
            rule=snakemake.rule,
            wildcards=dict(snakemake.wildcards.items()),
            settings=plain_settings(settings_of(snakemake.params)),
            inputs=at_start,
            store=None if store is None else store_checksum(store),
        ).write(path)


def settings_of(params: Any) -> dict[str, Any]:  # noqa: ANN401  # of Snakemake
    """The parameters of a job that its outputs depend on."""
    return {name: value for name, value in params.items() if name not in _NO_SETTINGS}


def _check_unchanged(inputs: list[JobInput], at_start: tuple[RecordedInput, ...]) -> None:
    """Check that the inputs are those that the job started with.

    Raises
    ------
    ValueError
        Naming the first file that changed.
    """
    at_end = recorded_inputs(inputs, at_start)
    for before, after in zip(at_start, at_end, strict=True):
        if before.checksum != after.checksum:
            raise ValueError(
                f"{after.file} changed while the job was running; start the same run again"
            )
