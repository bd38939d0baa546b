"""Rasterise the outlines of a slide on the grid of its tiles, with weights."""

from pathlib import Path

from workflow.job_log import job_log


def main() -> None:
    with job_log(snakemake.log[0]):
        from tiling.qupath.annotation_source import AnnotationFile, ReadingRules
        from tiling.qupath.label_slide import label_slide

        params, path = snakemake.params, Path(snakemake.input.annotation)
        label_slide(
            AnnotationFile(path, ReadingRules(**params.rules)),
            Path(snakemake.input.tiles),
            Path(snakemake.output.labels),
            slide=snakemake.wildcards.slide,
            required=params.required,
            code_version=params.code_version,
        )


if __name__ == "__main__":
    main()
