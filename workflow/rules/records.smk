"""Job records: every rule below has the input `check_record(...)`, which names no file, the
parameter `made_from=made_from` and the output `record`. See workflow/planned_records.py.
"""

RECORDS = PlannedRecords(
    workflow,
    # Outlines of unlabelled slides are only compared with the pseudo-labels: a correction of them
    # does not train again (the first outlines do).
    present_only=frozenset({"unlabelled_labels"}),
    ignored=frozenset({"tiles_removed"}),
)
MAX_PRINTED_REASONS = 20
results_locks = []
printed_reasons = []


def check_record(rule):
    """An input function without files: forces a job whose record differs from this run."""

    def no_files(wildcards):
        if workflow.is_main_process:
            lock_results()
            job = RECORDS.outdated_job(rule, wildcards)
            if job:
                force_jobs(workflow.dag, job.outputs)
                list_reasons(" ".join([rule, *wildcards]), job.reasons)
        return []

    return no_files


def lock_results():
    """Exclude a second run that writes the same results, until this process ends."""
    is_run = workflow.executor_plugin is not None and not workflow.dryrun
    if is_run and not results_locks:
        results_locks.append(results_lock(PATHS))


def list_reasons(job, reasons):
    """Tell the user why a job runs again."""
    for reason in reasons[: MAX_PRINTED_REASONS - len(printed_reasons)]:
        print(f"Again: {job}: {reason}", file=sys.stderr)
        printed_reasons.append(reason)


def made_from(wildcards, output):
    """The input files of a job, for its record."""
    return RECORDS.made_from(output.record)
