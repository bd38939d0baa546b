"""One label per gland from a slide's maps, out of core."""

from pathlib import Path

from workflow.jobs import job


def main() -> None:
    with job(snakemake.log[0]):
        from workflow.stages.glands import stitch_slide

        stitch_slide(
            Path(snakemake.input.maps), Path(snakemake.output.glands), slide=snakemake.wildcards.slide, given=snakemake.params.glands,
            workers=snakemake.threads, code_version=snakemake.params.code_version,
        )  # fmt: skip


if __name__ == "__main__":
    main()
