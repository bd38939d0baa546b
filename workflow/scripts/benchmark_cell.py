"""Train and score the model of one cell of a table of methods."""

from workflow.job_log import job_log


def main() -> None:
    with job_log(snakemake.log[0]):
        from workflow.stages.job_resources import JobResources
        from workflow.stages.method_table import make_cell

        params, resources = snakemake.params, snakemake.resources
        job = JobResources(resources.gpu, snakemake.threads, params.code_version)
        make_cell(params.configuration, snakemake.wildcards.cell, job)


if __name__ == "__main__":
    main()
