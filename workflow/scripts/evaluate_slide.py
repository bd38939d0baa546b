"""Score the glands of a slide against its outlines."""

from pathlib import Path

from workflow.recorded_job import recorded_job
from workflow.result_paths import store_of


def main() -> None:
    with recorded_job(snakemake):
        from workflow.stages.evaluate_slide import evaluate_slide

        evaluate_slide(
            store_of(snakemake.input.glands),
            store_of(snakemake.input.labels),
            Path(snakemake.output.metrics),
            slide=snakemake.wildcards.slide,
            split=snakemake.params.split,
            method=snakemake.params.method,
            min_area_um2=snakemake.params.min_area_um2,
        )


if __name__ == "__main__":
    main()
