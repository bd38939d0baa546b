"""All scores, and counts, areas and densities of every slide."""

from pathlib import Path

from workflow.jobs import job


def main() -> None:
    with job(snakemake.log[0]):
        from workflow.stages.scores import summarise

        given = snakemake.input
        summarise(
            [*given.metrics, *given.compared], given.glands, given.cards, snakemake.params.passed_through,
            Path(snakemake.output.metrics), Path(snakemake.output.cohort),
        )  # fmt: skip


if __name__ == "__main__":
    main()
