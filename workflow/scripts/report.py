"""Write the report of the run, one self-contained page."""

from pathlib import Path

from workflow.job_log import job_log


def main() -> None:
    with job_log(snakemake.log[0]):
        from workflow.config.configuration import Configuration
        from workflow.reporting.report import write_report

        configuration = Configuration(**snakemake.params.config)
        write_report(snakemake.params.slides, configuration, Path(snakemake.output.html))


if __name__ == "__main__":
    main()
