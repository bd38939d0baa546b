"""Predict labels for tiles of an unlabelled slide, and choose the tiles for training."""

from pathlib import Path

from workflow.recorded_job import recorded_job
from workflow.result_paths import store_of


def main() -> None:
    with recorded_job(snakemake):
        from workflow.stages.job_resources import JobResources
        from workflow.stages.pseudo_label import PseudoLabelSettings, pseudo_label

        params = snakemake.params
        pseudo_label(
            store_of(snakemake.input.tiles),
            Path(snakemake.input.card).parent,
            store_of(snakemake.output.record),
            slide=snakemake.wildcards.slide,
            settings=PseudoLabelSettings(**params.settings),
            job=JobResources(snakemake.resources.gpu, snakemake.threads, params.code_version),
        )


if __name__ == "__main__":
    main()
