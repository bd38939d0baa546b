"""What the preview shows of one slide."""

from pathlib import Path

from workflow.jobs import job


def main() -> None:
    with job(snakemake.log[0]):
        from tiling.pictures.contact_sheet import write_card

        write_card(Path(snakemake.input.tiles), Path(snakemake.output.card))


if __name__ == "__main__":
    main()
