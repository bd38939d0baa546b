"""Groovy scripts that carry outlines into a QuPath project, and annotations back."""

from pathlib import Path

from workflow.jobs import job


def main() -> None:
    with job(snakemake.log[0]):
        from tiling.qupath.project_scripts import write_scripts

        given = {name: value for name, value in snakemake.params.items() if name != "code_version"}
        write_scripts(
            **given,
            into=Path(snakemake.output.import_all),
            out=Path(snakemake.output.export_annotations),
        )


if __name__ == "__main__":
    main()
