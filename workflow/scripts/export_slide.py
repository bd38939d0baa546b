"""Write gland outlines for QuPath, and their measurements."""

from pathlib import Path

from workflow.recorded_job import recorded_job
from workflow.result_paths import store_of


def main() -> None:
    with recorded_job(snakemake):
        from workflow.config.option_groups import ExportOptions
        from workflow.stages.export_slide import export_slide

        export_slide(
            store_of(snakemake.input.glands),
            store_of(snakemake.input.maps),
            Path(snakemake.output.geojson),
            Path(snakemake.output.csv),
            slide=snakemake.wildcards.slide,
            options=ExportOptions(**snakemake.params.export),
            workers=snakemake.threads,
        )


if __name__ == "__main__":
    main()
