"""Train Semi-MoE on labelled and unlabelled tiles."""

from pathlib import Path

from workflow.job_log import job_log


def main() -> None:
    with job_log(snakemake.log[0]):
        from workflow.stages.job_resources import JobResources
        from workflow.stages.slide_training import train
        from workflow.stages.training_slides import TrainingSlides, training_slides

        files, code_version = snakemake.input, snakemake.params.code_version
        slides = TrainingSlides(
            training_slides(files.tiles, files.labels),
            training_slides(files.unlabelled_tiles, files.unlabelled_labels, files.pseudo),
            training_slides(files.validation_tiles, files.validation_labels),
        )
        job = JobResources(snakemake.resources.gpu, snakemake.threads, code_version)
        model, warm_start = Path(snakemake.output.card).parent, Path(files.supervised).parent
        train("semimoe", slides, config=snakemake.params.config, model=model, job=job,
            warm_start=warm_start)  # fmt: skip


if __name__ == "__main__":
    main()
