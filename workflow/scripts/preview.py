"""Write a contact sheet of all slides with tissue and tiles, to check before the prediction."""

from pathlib import Path

from workflow.job_log import job_log


def main() -> None:
    with job_log(snakemake.log[0]):
        from workflow.config.option_groups import PredictionOptions
        from workflow.stages.preview import preview

        params = snakemake.params
        preview(
            [Path(path) for path in snakemake.input.summaries],
            Path(snakemake.output.png),
            Path(snakemake.output.html),
            model=params.model,
            prediction=PredictionOptions(**params.prediction),
            threads=snakemake.threads,
            planned=params.planned,
        )


if __name__ == "__main__":
    main()
