"""Tile one slide into an OME-Zarr pyramid at the working resolution."""

from pathlib import Path

from workflow.jobs import job, scratch_folder


def main() -> None:
    with job(snakemake.log[0]):
        from tiling.tiles.tile_slide import TileParameters, tile_slide

        tissue, roi = (
            Path(path) if (path := snakemake.input.get(name)) else None
            for name in ("tissue", "roi")
        )
        tile_slide(
            Path(snakemake.input.slide), Path(snakemake.output.tiles), slide=snakemake.wildcards.slide,
            parameters=TileParameters(**snakemake.params.tiles), mpp=snakemake.params.mpp, workers=snakemake.threads,
            code_version=snakemake.params.code_version, progress=True, tissue=tissue, roi=roi,
            origin=snakemake.params.origin, scratch=scratch_folder(snakemake.config),
        )  # fmt: skip


if __name__ == "__main__":
    main()
