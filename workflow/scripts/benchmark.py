"""Write the table of methods."""

from workflow.recorded_job import recorded_job


def main() -> None:
    with recorded_job(snakemake):
        from workflow.stages.method_table import make_table

        make_table(snakemake.params.configuration)


if __name__ == "__main__":
    main()
