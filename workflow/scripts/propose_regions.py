"""Regions where another look would teach most, with the predicted glands inside."""

from pathlib import Path

from workflow.jobs import job


def main() -> None:
    with job(snakemake.log[0]):
        from tiling.qupath.proposals import propose_regions

        given = {name: Path(path) for name, path in snakemake.input.items()}
        propose_regions(
            given["maps"], given["tiles"], given.get("labels"), given["glands"], Path(snakemake.output.geojson),
            slide=snakemake.wildcards.slide, origin=snakemake.params.origin,
            gland_class=snakemake.params.gland_class, **snakemake.params.proposals,
        )  # fmt: skip


if __name__ == "__main__":
    main()
