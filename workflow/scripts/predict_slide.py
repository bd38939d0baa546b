"""Predict the maps of a slide: gland, signed distance, boundary and disagreement."""

from pathlib import Path

from workflow.job_log import job_log


def main() -> None:
    with job_log(snakemake.log[0]):
        from workflow.config.option_groups import PredictionOptions
        from workflow.stages.job_resources import JobResources
        from workflow.stages.predict_slide import predict_slide

        gpu, code_version = snakemake.resources.gpu, snakemake.params.code_version
        predict_slide(
            Path(snakemake.input.tiles),
            Path(snakemake.input.card).parent,
            Path(snakemake.output.maps),
            slide=snakemake.wildcards.slide,
            prediction=PredictionOptions(**snakemake.params.prediction),
            job=JobResources(gpu, snakemake.threads, code_version),
        )


if __name__ == "__main__":
    main()
