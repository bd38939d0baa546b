"""Draw a picture of a slide with the outlines of its glands."""

from pathlib import Path

from workflow.job_log import job_log


def main() -> None:
    with job_log(snakemake.log[0]):
        from tiling.pictures.overview import write_overview
        from tiling.stores.slide_stores import SlideStores

        stores = {name: Path(path) for name, path in snakemake.input.items()}
        write_overview(
            SlideStores(**stores),
            Path(snakemake.output.png),
            title=snakemake.params.title,
        )


if __name__ == "__main__":
    main()
