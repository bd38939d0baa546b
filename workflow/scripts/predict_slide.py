"""Predict the maps of a slide: gland, signed distance, boundary and disagreement."""

from pathlib import Path

from workflow.recorded_job import recorded_job
from workflow.result_paths import store_of


def main() -> None:
    with recorded_job(snakemake):
        from workflow.config.option_groups import PredictionOptions
        from workflow.stages.job_resources import JobResources
        from workflow.stages.predict_slide import predict_slide

        gpu, code_version = snakemake.resources.gpu, snakemake.params.code_version
        predict_slide(
            store_of(snakemake.input.tiles),
            Path(snakemake.input.card).parent,
            store_of(snakemake.output.record),
            slide=snakemake.wildcards.slide,
            prediction=PredictionOptions(**snakemake.params.prediction),
            job=JobResources(gpu, snakemake.threads, code_version),
        )


if __name__ == "__main__":
    main()
