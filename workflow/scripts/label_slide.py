"""Rasterise the outlines of a slide on the grid of its tiles, with weights."""

from pathlib import Path

from workflow.job_log import job_log


def main() -> None:
    with job_log(snakemake.log[0]):
        from tiling.qupath.label_slide import label_slide

        label_slide(
            Path(snakemake.input.annotation),
            Path(snakemake.input.tiles),
            Path(snakemake.output.labels),
            slide=snakemake.wildcards.slide,
            **dict(snakemake.params.items()),
        )


if __name__ == "__main__":
    main()
