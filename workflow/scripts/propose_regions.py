"""Propose regions that should be annotated next, with the predicted glands inside."""

from pathlib import Path

from workflow.recorded_job import recorded_job
from workflow.result_paths import store_of


def main() -> None:
    with recorded_job(snakemake):
        from tiling.qupath.proposals import ProposalSettings, propose_regions
        from tiling.stores.slide_stores import SlideStores

        stores = {name: store_of(path) for name, path in snakemake.input.items()}
        propose_regions(
            SlideStores(**stores),
            Path(snakemake.output.geojson),
            slide=snakemake.wildcards.slide,
            settings=ProposalSettings(**snakemake.params.proposals),
            gland_class=snakemake.params.gland_class,
            origin=snakemake.params.origin,
        )


if __name__ == "__main__":
    main()
