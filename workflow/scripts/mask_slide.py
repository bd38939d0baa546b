"""Write the label image of glands as a pyramidal OME-TIFF."""

from pathlib import Path

from workflow.recorded_job import recorded_job
from workflow.result_paths import store_of


def main() -> None:
    with recorded_job(snakemake):
        from tiling.objects.label_image import write_label_image

        write_label_image(
            store_of(snakemake.input.glands),
            Path(snakemake.output.mask),
            slide=snakemake.wildcards.slide,
        )


if __name__ == "__main__":
    main()
