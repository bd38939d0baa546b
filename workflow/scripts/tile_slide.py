"""Tile one slide into an OME-Zarr pyramid at the working resolution."""

from pathlib import Path

from workflow.jobs import job, scratch_folder


def main() -> None:
    with job(snakemake.log[0]):
        from tiling.parallel import JobSettings
        from tiling.tiles.slide_source import SlideSource
        from tiling.tiles.tile_slide import TileParameters, tile_slide

        tissue, roi = (
            Path(path) if (path := snakemake.input.get(name)) else None
            for name in ("tissue", "roi")
        )
        source = SlideSource(
            snakemake.wildcards.slide, Path(snakemake.input.slide), snakemake.params.mpp, tissue, roi, snakemake.params.origin
        )  # fmt: skip
        tile_slide(
            source, Path(snakemake.output.tiles), parameters=TileParameters(**snakemake.params.tiles),
            code_version=snakemake.params.code_version, job=JobSettings(snakemake.threads, progress=True),
            local_copies=scratch_folder(snakemake.config),
        )  # fmt: skip


if __name__ == "__main__":
    main()
