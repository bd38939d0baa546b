"""How busy a GPU is while a command runs: samples of its driver."""

import threading
import time
from types import TracebackType
from typing import NamedTuple

INTERVAL_S = 0.2


class Sample(NamedTuple):
    """What the driver says of the first GPU.

    Attributes
    ----------
    busy_percent : share of the last sixth of a second or more in which a kernel ran
    memory_mib : used by all programs
    """

    busy_percent: float
    memory_mib: float


class GpuSamples:
    """Samples of the first GPU while this context is open; none without nvidia-ml-py and a GPU."""

    def __init__(self) -> None:
        self._samples: list[Sample] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "GpuSamples":
        self._thread.start()
        return self

    def _sample(self) -> None:
        try:
            import pynvml

            pynvml.nvmlInit()
            gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
        except Exception as error:  # the package and its driver raise many kinds
            print(f"the GPU is not sampled: {type(error).__name__}: {error}", flush=True)
            return
        while not self._ended.is_set():
            begin_s = time.monotonic()
            self._samples.append(
                Sample(
                    pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu,
                    pynvml.nvmlDeviceGetMemoryInfo(gpu).used / 2**20,
                )
            )
            self._ended.wait(max(INTERVAL_S - (time.monotonic() - begin_s), 0))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def figures(self, slides: int) -> dict[str, object]:
        """Columns of a report: between the first and the last sample that is not idle.

        Parameters
        ----------
        slides : number of slides that were predicted
        """
        return figures_of(self._samples, slides)


def figures_of(samples: list[Sample], slides: int) -> dict[str, object]:
    """Busy share, idle seconds for each slide, and the most memory.

    >>> figures_of([Sample(0, 1), Sample(50, 9), Sample(0, 5), Sample(100, 5)], 2)
    {'GPU busy': '50%', 'GPU idle s per slide': 0.1, 'GPU MiB': 9}
    """
    busy = [number for number, sample in enumerate(samples) if sample.busy_percent > 0]
    if not busy:
        return {"GPU busy": "no GPU", "GPU idle s per slide": "", "GPU MiB": ""}
    used = samples[busy[0] : busy[-1] + 1]
    idle = sum(sample.busy_percent == 0 for sample in used)
    share = sum(sample.busy_percent for sample in used) / len(used) / 100
    return {
        "GPU busy": f"{share:.0%}",
        "GPU idle s per slide": round(idle * INTERVAL_S / slides, 2),
        "GPU MiB": round(max(sample.memory_mib for sample in samples)),
    }
