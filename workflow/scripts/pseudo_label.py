"""Label tiles of an unlabelled slide with the gating heads and choose those to train on."""

from pathlib import Path

from workflow.jobs import job


def main() -> None:
    with job(snakemake.log[0]):
        from workflow.stages.slide_prediction import pseudo_label

        pseudo_label(
            Path(snakemake.input.tiles), Path(snakemake.input.card).parent, Path(snakemake.output.pseudo),
            slide=snakemake.wildcards.slide, config=snakemake.params.config, gpu=snakemake.resources.gpu,
            threads=snakemake.threads, code_version=snakemake.params.code_version,
        )  # fmt: skip


if __name__ == "__main__":
    main()
