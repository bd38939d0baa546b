"""One label per gland from a slide's maps, out of core."""

from pathlib import Path

from workflow.jobs import job


def main() -> None:
    with job(snakemake.log[0]):
        from tiling.glands.instances import stitch
        from workflow.glands import split_parameters

        maps = Path(snakemake.input.maps)
        stitch(
            maps, Path(snakemake.output.glands), slide=snakemake.wildcards.slide, progress=True, workers=snakemake.threads,
            parameters=split_parameters(maps, snakemake.params.glands), code_version=snakemake.params.code_version,
        )  # fmt: skip


if __name__ == "__main__":
    main()
