"""Label each gland of a slide from its maps, block by block."""

from pathlib import Path

from workflow.job_log import job_log


def main() -> None:
    with job_log(snakemake.log[0]):
        from workflow.config.option_groups import GlandOptions
        from workflow.stages.stitch_slide import stitch_slide

        stitch_slide(
            Path(snakemake.input.maps),
            Path(snakemake.output.glands),
            slide=snakemake.wildcards.slide,
            options=GlandOptions(**snakemake.params.glands),
            workers=snakemake.threads,
            code_version=snakemake.params.code_version,
        )


if __name__ == "__main__":
    main()
