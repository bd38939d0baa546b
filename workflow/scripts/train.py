"""Train a method on the tiles of slides."""

from pathlib import Path

from workflow.recorded_job import recorded_job


def main() -> None:
    with recorded_job(snakemake):
        from workflow.config.method_settings import MethodSettings
        from workflow.stages.job_resources import JobResources
        from workflow.stages.slide_training import train
        from workflow.stages.training_slides import training_slides_of_files

        files, params = snakemake.input, snakemake.params
        warm_start, start_from = files.get("warm_start"), files.get("start_from")
        train(
            params.method, training_slides_of_files(dict(files.items())),
            settings=MethodSettings(**params.settings), model=Path(snakemake.output.card).parent,
            warm_start=Path(warm_start).parent if warm_start else None,
            start_from=Path(start_from[0]).parent if start_from else None,
            job=JobResources(snakemake.resources.gpu, snakemake.threads, params.code_version),
        )  # fmt: skip


if __name__ == "__main__":
    main()
