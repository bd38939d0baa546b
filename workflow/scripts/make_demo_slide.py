"""Make a synthetic slide of the demo, with its exact outlines."""

from pathlib import Path

from workflow.job_log import job_log


def main() -> None:
    with job_log(snakemake.log[0]):
        from tiling.synthetic import make_demo_slide

        out = snakemake.output
        make_demo_slide(
            snakemake.wildcards.slide,
            Path(out.slide),
            annotation=Path(out.annotation),
            truth=Path(out.truth),
        )


if __name__ == "__main__":
    main()
