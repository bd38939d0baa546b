"""One picture of a slide with its glands."""

from pathlib import Path

from workflow.jobs import job


def main() -> None:
    with job(snakemake.log[0]):
        from tiling.pictures.overview import overview

        given = {name: Path(path) for name, path in snakemake.input.items()}
        overview(
            given["tiles"], given["glands"], given["maps"], Path(snakemake.output.png),
            title=snakemake.params.title, labels=given.get("labels"),
        )  # fmt: skip


if __name__ == "__main__":
    main()
