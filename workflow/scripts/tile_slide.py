"""Tile a slide: write an OME-Zarr pyramid at the working resolution."""

from pathlib import Path

from workflow.recorded_job import recorded_job
from workflow.result_paths import store_of


def main() -> None:
    with recorded_job(snakemake):
        from tiling.parallel import JobSettings
        from tiling.tiles.slide_source import SlideSource
        from tiling.tiles.tile_slide import TileParameters, tile_slide
        from tiling.tissue.mask_files import MaskFiles
        from workflow.stages.job_resources import scratch_folder

        params = snakemake.params
        files = {name: Path(path) for name, path in snakemake.input.items()}
        slide, path = snakemake.wildcards.slide, files.pop("slide")
        masks = MaskFiles(**files, origin=params.origin)
        tile_slide(
            SlideSource(slide, path, params.mpp, masks), store_of(snakemake.output.record),
            parameters=TileParameters(**params.tiles), code_version=params.code_version,
            job=JobSettings(snakemake.threads, progress=True),
            local_copies=scratch_folder(snakemake.config.get("scratch")),
        )  # fmt: skip


if __name__ == "__main__":
    main()
