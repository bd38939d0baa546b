"""A contact sheet of all slides with tissue and tile grid: look before the long computation."""

from pathlib import Path

from workflow.jobs import job


def main() -> None:
    with job(snakemake.log[0]):
        from tiling.pictures.preview import contact_sheet

        contact_sheet([Path(store) for store in snakemake.input.tiles], Path(snakemake.output.png), Path(snakemake.output.html))


if __name__ == "__main__":
    main()
