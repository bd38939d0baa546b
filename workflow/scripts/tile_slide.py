"""Tile one slide into an OME-Zarr pyramid at the working resolution."""

from pathlib import Path

from workflow.jobs import job


def main() -> None:
    with job(snakemake.log[0]):
        from tiling.tile import TileParameters, tile_slide

        given = {name: Path(path) for name in ("tissue", "roi") if (path := snakemake.input.get(name))}
        tile_slide(
            Path(snakemake.input.slide), Path(snakemake.output.tiles), slide=snakemake.wildcards.slide,
            parameters=TileParameters(**snakemake.params.tiles), mpp=snakemake.params.mpp, workers=snakemake.threads,
            code_version=snakemake.params.code_version, progress=True, **given,
        )  # fmt: skip


if __name__ == "__main__":
    main()
