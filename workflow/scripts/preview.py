"""A contact sheet of all slides with tissue and tile grid: look before the long computation."""

from pathlib import Path

from workflow.jobs import job


def main() -> None:
    with job(snakemake.log[0]):
        from workflow.stages.preview_page import preview

        given = {name: value for name, value in snakemake.params.items() if name != "code_version"}
        preview(
            [Path(card) for card in snakemake.input.cards], Path(snakemake.output.png), Path(snakemake.output.html),
            threads=snakemake.threads, **given,
        )  # fmt: skip


if __name__ == "__main__":
    main()
