"""Write gland outlines for QuPath, and their measurements."""

from pathlib import Path

from workflow.job_log import job_log


def main() -> None:
    with job_log(snakemake.log[0]):
        from workflow.config.option_groups import ExportOptions
        from workflow.stages.export_slide import export_slide

        export_slide(
            Path(snakemake.input.glands),
            Path(snakemake.input.maps),
            Path(snakemake.output.geojson),
            Path(snakemake.output.csv),
            slide=snakemake.wildcards.slide,
            options=ExportOptions(**snakemake.params.export),
            workers=snakemake.threads,
        )


if __name__ == "__main__":
    main()
