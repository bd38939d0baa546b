"""One self-contained page about the run."""

from pathlib import Path

from workflow.jobs import job


def main() -> None:
    with job(snakemake.log[0]):
        from workflow.reporting.report import write_report

        write_report(snakemake.params.slides, snakemake.params.config, Path(snakemake.output.html))


if __name__ == "__main__":
    main()
