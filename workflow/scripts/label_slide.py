"""Rasterise a slide's outlines onto its grid, with weights."""

from pathlib import Path

from workflow.jobs import job


def main() -> None:
    with job(snakemake.log[0]):
        from tiling.qupath.label_slide import label_slide

        given = dict(snakemake.params.items())
        label_slide(
            Path(snakemake.input.annotation), Path(snakemake.input.tiles), Path(snakemake.output.labels),
            slide=snakemake.wildcards.slide, **given,
        )  # fmt: skip


if __name__ == "__main__":
    main()
