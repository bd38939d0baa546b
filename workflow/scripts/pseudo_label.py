"""Predict labels for tiles of an unlabelled slide, and choose the tiles for training."""

from pathlib import Path

from workflow.job_log import job_log


def main() -> None:
    with job_log(snakemake.log[0]):
        from workflow.stages.job_resources import JobResources
        from workflow.stages.pseudo_label import PseudoLabelSettings, pseudo_label

        params = snakemake.params
        pseudo_label(
            Path(snakemake.input.tiles),
            Path(snakemake.input.card).parent,
            Path(snakemake.output.pseudo),
            slide=snakemake.wildcards.slide,
            settings=PseudoLabelSettings(**params.settings),
            job=JobResources(snakemake.resources.gpu, snakemake.threads, params.code_version),
        )


if __name__ == "__main__":
    main()
