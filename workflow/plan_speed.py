"""Makes Snakemake plan large sheets faster; the plan is the same.

Snakemake expands the parameters of every job to find its conda environment and its script,
inspects each input function again for every job, and describes every job for a message that
`quiet` leaves out. For 1000 slides this takes more than half of the time of a dry run. Where a
version of Snakemake has other attributes, its planning is only slower.
"""

import gc
from collections.abc import Callable
from functools import cache
from typing import Any

# A plan has millions of objects, and nearly none of them is in a cycle. With Python's own numbers
# the search for cycles takes an eighth of the time.
_OBJECTS_BEFORE_COLLECTION = (50_000, 20, 100)


def speed_up_planning(workflow: Any) -> None:  # noqa: ANN401  # of Snakemake
    """Leave out what gives the same answer for all jobs of a rule.

    Parameters
    ----------
    workflow : Snakemake's workflow, after all rules
    """
    from snakemake import common, dag, jobs, rules

    if not workflow.deployment_settings.deployment_method and hasattr(jobs.Job, "conda_env_spec"):
        jobs.Job.conda_env_spec = None  # instead of a property
    for module in (common, rules):
        if hasattr(module, "get_function_params"):
            module.get_function_params = cache(module.get_function_params)
    if hasattr(dag, "ScriptProcessor"):
        dag.ScriptProcessor.process_job = _once_for_each_rule(dag.ScriptProcessor.process_job)
    if hasattr(jobs.Job, "log_info") and not _shows_jobs(workflow.output_settings):
        jobs.Job.log_info = _log_nothing
    _set_fewer_timers()
    gc.set_threshold(*_OBJECTS_BEFORE_COLLECTION)


def _shows_jobs(settings: Any) -> bool:  # noqa: ANN401  # of Snakemake
    """Whether a message for each job is shown, or given to a logger plugin."""
    from snakemake.settings.enums import Quietness

    return Quietness.RULES not in (settings.quiet or ()) or bool(settings.log_handler_settings)


def _log_nothing(*_: Any, **__: Any) -> None:  # noqa: ANN401  # of Snakemake
    """Instead of the message of a job."""


def _once_for_each_rule(process_job: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """The check that the script of a job exists: all jobs of a rule have the same script."""
    checked = set()

    def process_first_job(processor: Any, job: Any) -> None:  # noqa: ANN401  # of Snakemake
        key = processor.script_type, job.rule
        if key not in checked:
            process_job(processor, job)
            checked.add(key)

    return process_first_job


def _set_fewer_timers() -> None:
    """Change the timers of the scheduler, see `_only_if_limited`."""
    try:
        from snakemake.scheduling import job_scheduler
    except ImportError:
        return
    scheduler = job_scheduler.JobScheduler
    if hasattr(scheduler, "_schedule_reevalutation") and hasattr(job_scheduler, "JobRateLimiter"):
        scheduler._schedule_reevalutation = _only_if_limited(scheduler._schedule_reevalutation)


def _only_if_limited(schedule: Callable[[Any, float], None]) -> Callable[[Any, float], None]:
    """A timer that selects jobs again, only if the limit of started jobs per second is reached.

    Snakemake sets a timer of one second after every selection, and another one when that timer
    ends. Each job that ends adds one more such series: after a hundred jobs a hundred selections
    per second, each over all waiting jobs. Below the limit, only the end of a job can change what
    is selected, and Snakemake selects then anyway.
    """

    def schedule_if_limited(scheduler: Any, delay_s: float) -> None:  # noqa: ANN401  # of Snakemake
        limiter = scheduler.job_rate_limiter
        # As the selection saw it: to count again might find that the limit is no longer reached,
        # and no timer would be set for the jobs that were not selected.
        started = getattr(limiter, "_jobs", None)
        if started is None or delay_s != limiter.timespan or len(started) >= limiter.max_jobs:
            schedule(scheduler, delay_s)

    return schedule_if_limited
