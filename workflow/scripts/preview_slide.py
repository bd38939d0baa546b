"""Summarise a slide for the preview."""

from pathlib import Path

from workflow.job_log import job_log


def main() -> None:
    with job_log(snakemake.log[0]):
        from tiling.pictures.contact_sheet import write_card

        write_card(Path(snakemake.input.tiles), Path(snakemake.output.summary))


if __name__ == "__main__":
    main()
