"""Write the result tables: all scores, and counts, areas and densities of glands."""

from pathlib import Path

from workflow.recorded_job import recorded_job


def main() -> None:
    with recorded_job(snakemake):
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
