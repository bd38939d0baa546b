"""Summarise a slide for the preview."""

from pathlib import Path

from workflow.job_log import job_log


def main() -> None:
    with job_log(snakemake.log[0]):
        from tiling.pictures.slide_summary import write_slide_summary
        from tiling.qupath.annotation_source import AnnotationFile, ReadingRules

        path = snakemake.input.get("annotation")
        rules = ReadingRules(**snakemake.params.rules)
        write_slide_summary(
            Path(snakemake.input.tiles),
            Path(snakemake.output.summary),
            annotation=AnnotationFile(Path(path), rules) if path else None,
        )


if __name__ == "__main__":
    main()
