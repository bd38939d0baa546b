"""Write QuPath scripts that import outlines into a project, and export annotations from it."""

from pathlib import Path

from workflow.recorded_job import recorded_job


def main() -> None:
    with recorded_job(snakemake):
        from tiling.qupath.project_scripts import write_scripts

        params = snakemake.params
        write_scripts(
            slides=params.slides,
            gland_class=params.gland_class,
            ending=params.ending,
            into=Path(snakemake.output.import_all),
            out=Path(snakemake.output.export_annotations),
        )


if __name__ == "__main__":
    main()
