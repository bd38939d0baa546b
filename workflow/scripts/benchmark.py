"""Write the table of methods."""

from workflow.job_log import job_log


def main() -> None:
    with job_log(snakemake.log[0]):
        from workflow.stages.method_table import make_table

        make_table(snakemake.params.configuration)


if __name__ == "__main__":
    main()
