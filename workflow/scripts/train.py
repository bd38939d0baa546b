"""Train Semi-MoE on labelled and unlabelled tiles."""

from pathlib import Path

from workflow.jobs import job


def main() -> None:
    with job(snakemake.log[0]):
        from workflow.stages.slide_training import stores, train

        given, config = snakemake.input, snakemake.params.config
        train(
            "semimoe", labelled=stores(given.tiles, given.labels), config=config,
            unlabelled=stores(given.unlabelled_tiles, given.unlabelled_labels, given.pseudo),
            validation=stores(given.validation_tiles, given.validation_labels), warm_start=Path(given.supervised).parent,
            model=Path(snakemake.output.card).parent, gpu=snakemake.resources.gpu, threads=snakemake.threads,
        )  # fmt: skip


if __name__ == "__main__":
    main()
