"""Tile a slide: write an OME-Zarr pyramid at the working resolution."""

from pathlib import Path

from workflow.job_log import job_log


def main() -> None:
    with job_log(snakemake.log[0]):
        from tiling.parallel import JobSettings
        from tiling.tiles.slide_source import SlideSource
        from tiling.tiles.tile_slide import TileParameters, tile_slide
        from workflow.stages.job_resources import scratch_folder

        params = snakemake.params
        files = {name: Path(path) for name, path in snakemake.input.items()}
        files["path"] = files.pop("slide")
        tile_slide(
            SlideSource(snakemake.wildcards.slide, mpp=params.mpp, origin=params.origin, **files),
            Path(snakemake.output.tiles), parameters=TileParameters(**params.tiles),
            code_version=params.code_version, job=JobSettings(snakemake.threads, progress=True),
            local_copies=scratch_folder(snakemake.config["scratch"]),
        )  # fmt: skip


if __name__ == "__main__":
    main()
