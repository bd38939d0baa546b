"""Write a contact sheet of all slides with tissue and tiles, to check before the prediction."""

from pathlib import Path

from workflow.job_log import job_log


def main() -> None:
    with job_log(snakemake.log[0]):
        from semimoe.settings import NetworkSettings
        from workflow.config.option_groups import PredictionOptions
        from workflow.stages.preview import preview

        params = snakemake.params
        preview(
            [Path(path) for path in snakemake.input.summaries],
            Path(snakemake.output.png),
            Path(snakemake.output.html),
            network=NetworkSettings(**params.network), tile_px=params.tile_px, model=params.model,
            prediction=PredictionOptions(**params.prediction), threads=snakemake.threads,
        )  # fmt: skip


if __name__ == "__main__":
    main()
