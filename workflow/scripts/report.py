"""Write the report of the run, one self-contained page."""

from pathlib import Path

from workflow.recorded_job import recorded_job


def main() -> None:
    with recorded_job(snakemake):
        from workflow.config.configuration import Configuration
        from workflow.reporting.report import write_report

        params = snakemake.params
        configuration = Configuration(**params.config, **params.paths)
        write_report(params.slides, configuration, Path(snakemake.output.html))


if __name__ == "__main__":
    main()
