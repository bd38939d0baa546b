"""Remove the tiles of a slide after the last job that reads them."""

from pathlib import Path

from workflow.job_log import job_log


def main() -> None:
    with job_log(snakemake.log[0]):
        from tiling.raster.atomic_files import write_atomic
        from tiling.stores.atomic_store import remove_store
        from workflow.result_paths import record_of_store

        tiles = Path(snakemake.params.tiles)
        # Without its record, a store that is removed in part does not count as finished.
        record_of_store(tiles).unlink(missing_ok=True)
        remove_store(tiles)
        write_atomic(Path(snakemake.output.note), "removed after the last job that read them\n")


if __name__ == "__main__":
    main()
