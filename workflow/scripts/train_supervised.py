"""Train on labelled tiles only: the supervised Semi-MoE network, or a U-Net."""

from pathlib import Path

from workflow.job_log import job_log


def main() -> None:
    with job_log(snakemake.log[0]):
        from workflow.stages.job_resources import JobResources
        from workflow.stages.slide_training import train
        from workflow.stages.training_slides import TrainingSlides, training_slides

        files, model = snakemake.input, Path(snakemake.output.card).parent
        slides = TrainingSlides(
            labelled=training_slides(files.tiles, files.labels),
            validation=training_slides(files.validation_tiles, files.validation_labels),
        )
        gpu, code_version = snakemake.resources.gpu, snakemake.params.code_version
        job = JobResources(gpu, snakemake.threads, code_version)
        config, is_unet = snakemake.params.config, model.name == "unet"
        train("unet" if is_unet else "supervised", slides, config=config, model=model, job=job)


if __name__ == "__main__":
    main()
