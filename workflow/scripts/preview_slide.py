"""Summarise a slide for the preview."""

from pathlib import Path

from workflow.recorded_job import recorded_job
from workflow.result_paths import store_of


def main() -> None:
    with recorded_job(snakemake):
        from tiling.pictures.slide_summary import write_slide_summary
        from tiling.qupath.annotation_source import AnnotationFile, ReadingRules

        path = snakemake.input.get("annotation")
        rules = ReadingRules(**snakemake.params.rules)
        write_slide_summary(
            store_of(snakemake.input.tiles),
            Path(snakemake.output.summary),
            annotation=AnnotationFile(Path(path), rules) if path else None,
        )


if __name__ == "__main__":
    main()
