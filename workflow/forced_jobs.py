"""Forces jobs in the plan of Snakemake, also behind inputs whose time does not count.

While Snakemake looks for the jobs that must run (`DAG.update_needrun`), it skips every job after
one of them, because it will run anyway. After an `ancient` input this is not true: the job does
not run anyway, and Snakemake does not ask any more whether it is forced. Here only jobs that run
anyway are skipped.
"""

from collections.abc import Iterable, Iterator
from typing import Any

_UPDATE = "update_needrun"


def force_jobs(dag: Any, outputs: Iterable[str]) -> None:  # noqa: ANN401  # of Snakemake
    """Force the jobs that make some files; called while the plan is built."""
    dag.forcefiles.update(outputs)
    if _UPDATE not in vars(dag):
        setattr(dag, _UPDATE, _corrected_update(dag))


def _corrected_update(dag: Any) -> Any:  # noqa: ANN401  # of Snakemake
    update = getattr(dag, _UPDATE)

    async def update_needrun(*arguments: Any, **options: Any) -> None:  # noqa: ANN401
        # In this method Snakemake uses the search for nothing but the jobs that it skips.
        dag.bfs = _not_across_ancient
        try:
            await update(*arguments, **options)
        finally:
            del dag.bfs

    return update_needrun


def _not_across_ancient(direction: Any, *jobs: Any) -> Iterator[Any]:  # noqa: ANN401
    """Some jobs, and those that are reached from them without an ancient input."""
    waiting, visited = list(jobs), set(jobs)
    while waiting:
        job = waiting.pop()
        yield job
        for other, files in direction[job].items():
            if other not in visited and not all(file.is_ancient for file in files):
                visited.add(other)
                waiting.append(other)
