"""Predict one slide into maps of gland, distance, boundary and disagreement."""

from pathlib import Path

from workflow.jobs import job


def main() -> None:
    with job(snakemake.log[0]):
        from workflow.stages.slide_prediction import predict_slide

        predict_slide(
            Path(snakemake.input.tiles), Path(snakemake.input.card).parent, Path(snakemake.output.maps),
            slide=snakemake.wildcards.slide, prediction=snakemake.params.prediction, gpu=snakemake.resources.gpu,
            threads=snakemake.threads, code_version=snakemake.params.code_version,
        )  # fmt: skip


if __name__ == "__main__":
    main()
