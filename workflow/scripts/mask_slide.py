"""Write the label image of glands as a pyramidal OME-TIFF."""

from pathlib import Path

from workflow.job_log import job_log


def main() -> None:
    with job_log(snakemake.log[0]):
        from tiling.objects.label_image import write_label_image

        write_label_image(
            Path(snakemake.input.glands),
            Path(snakemake.output.mask),
            slide=snakemake.wildcards.slide,
        )


if __name__ == "__main__":
    main()
