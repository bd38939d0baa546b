"""Rasterise the outlines of a slide on the grid of its tiles, with weights."""

from pathlib import Path

from workflow.recorded_job import recorded_job
from workflow.result_paths import store_of


def main() -> None:
    with recorded_job(snakemake):
        from tiling.qupath.annotation_source import AnnotationFile, ReadingRules
        from tiling.qupath.label_slide import label_slide

        params, path = snakemake.params, Path(snakemake.input.annotation)
        label_slide(
            AnnotationFile(path, ReadingRules(**params.rules)),
            store_of(snakemake.input.tiles),
            store_of(snakemake.output.record),
            slide=snakemake.wildcards.slide,
            required=params.required,
            code_version=params.code_version,
        )


if __name__ == "__main__":
    main()
