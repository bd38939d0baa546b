"""Draw a picture of a slide with the outlines of its glands."""

from pathlib import Path

from workflow.recorded_job import recorded_job
from workflow.result_paths import store_of


def main() -> None:
    with recorded_job(snakemake):
        from tiling.pictures.overview import write_overview
        from tiling.stores.slide_stores import SlideStores

        stores = {name: store_of(path) for name, path in snakemake.input.items()}
        write_overview(
            SlideStores(**stores),
            Path(snakemake.output.png),
            title=snakemake.params.title,
        )


if __name__ == "__main__":
    main()
