"""Gland outlines for QuPath, and their measurements."""

from pathlib import Path

from workflow.jobs import job


def main() -> None:
    with job(snakemake.log[0]):
        from workflow.stages.glands import export_slide

        export_slide(
            Path(snakemake.input.glands), Path(snakemake.input.maps), Path(snakemake.output.geojson), Path(snakemake.output.csv),
            slide=snakemake.wildcards.slide, export=snakemake.params.export, workers=snakemake.threads,
        )  # fmt: skip


if __name__ == "__main__":
    main()
