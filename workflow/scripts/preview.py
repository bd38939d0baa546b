"""Write a contact sheet of all slides with tissue and tiles, to check before the prediction."""

from pathlib import Path

from workflow.recorded_job import recorded_job


def main() -> None:
    with recorded_job(snakemake):
        from workflow.config.option_groups import PredictionOptions
        from workflow.stages.preview import preview

        params = snakemake.params
        preview(
            [Path(path) for path in snakemake.input.summaries],
            Path(snakemake.output.png),
            Path(snakemake.output.html),
            **params.paths,
            prediction=PredictionOptions(**params.prediction),
            threads=snakemake.threads,
        )


if __name__ == "__main__":
    main()
