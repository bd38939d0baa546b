"""Score a slide's glands against its outlines."""

from pathlib import Path

from workflow.jobs import job


def main() -> None:
    with job(snakemake.log[0]):
        from workflow.stages.scores import evaluate_slide

        given = {name: value for name, value in snakemake.params.items() if name != "code_version"}
        evaluate_slide(
            Path(snakemake.input.glands), Path(snakemake.input.labels), Path(snakemake.output.metrics),
            slide=snakemake.wildcards.slide, **given,
        )  # fmt: skip


if __name__ == "__main__":
    main()
