"""Draw a picture of a slide with the outlines of its glands."""

from pathlib import Path

from workflow.job_log import job_log


def main() -> None:
    with job_log(snakemake.log[0]):
        from tiling.pictures.overview import overview

        stores = {name: Path(path) for name, path in snakemake.input.items()}
        overview(
            stores["tiles"],
            stores["glands"],
            stores["maps"],
            Path(snakemake.output.png),
            title=snakemake.params.title,
            labels=stores.get("labels"),
        )


if __name__ == "__main__":
    main()
