"""Train the same experts and gates on labelled tiles only: warm start, and the row beside Semi-MoE."""

from pathlib import Path

from workflow.jobs import job


def main() -> None:
    with job(snakemake.log[0]):
        from workflow.training import stores, train

        given = snakemake.input
        train(
            "supervised", labelled=stores(given.tiles, given.labels), unlabelled=[],
            validation=stores(given.validation_tiles, given.validation_labels), config=snakemake.params.config,
            model=Path(snakemake.output.card).parent, gpu=snakemake.resources.gpu, threads=snakemake.threads,
        )  # fmt: skip


if __name__ == "__main__":
    main()
