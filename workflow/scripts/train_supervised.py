"""Train on labelled tiles only: the same experts and gates (warm start, and the row beside Semi-MoE), or a U-Net."""

from pathlib import Path

from workflow.jobs import job


def main() -> None:
    with job(snakemake.log[0]):
        from workflow.stages.slide_training import stores, train

        given, model = snakemake.input, Path(snakemake.output.card).parent
        train(
            "unet" if model.name == "unet" else "supervised", labelled=stores(given.tiles, given.labels), unlabelled=[],
            validation=stores(given.validation_tiles, given.validation_labels), config=snakemake.params.config,
            model=model, gpu=snakemake.resources.gpu, threads=snakemake.threads,
        )  # fmt: skip


if __name__ == "__main__":
    main()
