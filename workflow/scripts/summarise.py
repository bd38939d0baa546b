"""Write the result tables: all scores, and counts, areas and densities of glands."""

from pathlib import Path

from workflow.job_log import job_log


def main() -> None:
    with job_log(snakemake.log[0]):
        from workflow.stages.summarise import SummaryInputs, summarise

        files = snakemake.input
        metrics = [*files.metrics, *files.compared]
        summarise(
            SummaryInputs(
                *(list(map(Path, paths)) for paths in (metrics, files.glands, files.summaries))
            ),
            snakemake.params.repeated,
            metrics_table=Path(snakemake.output.metrics),
            cohort_table=Path(snakemake.output.cohort),
            main_method=snakemake.params.main_method,
        )


if __name__ == "__main__":
    main()
