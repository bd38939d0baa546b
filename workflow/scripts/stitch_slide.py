"""Label each gland of a slide from its maps, block by block."""

from workflow.recorded_job import recorded_job
from workflow.result_paths import store_of


def main() -> None:
    with recorded_job(snakemake):
        from workflow.config.option_groups import GlandOptions
        from workflow.stages.stitch_slide import stitch_slide

        stitch_slide(
            store_of(snakemake.input.maps),
            store_of(snakemake.output.record),
            slide=snakemake.wildcards.slide,
            options=GlandOptions(**snakemake.params.glands),
            workers=snakemake.threads,
            code_version=snakemake.params.code_version,
        )


if __name__ == "__main__":
    main()
