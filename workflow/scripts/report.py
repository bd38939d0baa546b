"""One self-contained page about the run."""

from pathlib import Path

from workflow.jobs import job


def main() -> None:
    with job(snakemake.log[0]):
        from workflow.report import write_report

        out = Path(snakemake.output.html)
        write_report(out.parent, snakemake.params.slides, snakemake.params.config, out)


if __name__ == "__main__":
    main()
