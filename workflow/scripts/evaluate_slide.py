"""Score the glands of a slide against its outlines."""

from pathlib import Path

from workflow.job_log import job_log


def main() -> None:
    with job_log(snakemake.log[0]):
        from workflow.stages.evaluate_slide import evaluate_slide

        evaluate_slide(
            Path(snakemake.input.glands),
            Path(snakemake.input.labels),
            Path(snakemake.output.metrics),
            slide=snakemake.wildcards.slide,
            split=snakemake.params.split,
            method=snakemake.params.method,
            min_area_um2=snakemake.params.min_area_um2,
        )


if __name__ == "__main__":
    main()
