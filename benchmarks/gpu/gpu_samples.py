"""How busy a GPU is while a command runs, sampled with nvidia-smi."""

import shutil
import subprocess
import threading
from types import TracebackType
from typing import NamedTuple

INTERVAL_S = 0.2


class _Sample(NamedTuple):
    busy_percent: float
    memory_mib: float


class GpuSamples:
    """Samples of the first GPU while this context is open; none without nvidia-smi."""

    def __init__(self) -> None:
        self._samples: list[_Sample] = []
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "GpuSamples":
        if shutil.which("nvidia-smi"):
            command = [
                *("nvidia-smi", "--id=0", "--query-gpu=utilization.gpu,memory.used"),
                *("--format=csv,noheader,nounits", f"--loop-ms={round(INTERVAL_S * 1000)}"),
            ]
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            self._reader = threading.Thread(target=self._read, daemon=True)
            self._reader.start()
        return self

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if sample := parse_sample(line):
                self._samples.append(sample)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._reader.join()

    def figures(self, slides: int) -> dict[str, object]:
        """Columns of a report: between the first and the last sample that is not idle.

        Parameters
        ----------
        slides : number of slides that were predicted
        """
        return figures_of(self._samples, slides)


def parse_sample(line: str) -> _Sample | None:
    """One line of nvidia-smi; None if it holds no numbers.

    >>> parse_sample("37, 2048")
    _Sample(busy_percent=37.0, memory_mib=2048.0)
    >>> parse_sample("[N/A], 2048") is None
    True
    """
    try:
        busy, memory = (float(value) for value in line.split(","))
    except ValueError:
        return None
    return _Sample(busy, memory)


def figures_of(samples: list[_Sample], slides: int) -> dict[str, object]:
    """Busy share, idle seconds for each slide, and the most memory.

    >>> figures_of([_Sample(0, 1), _Sample(50, 9), _Sample(0, 5), _Sample(100, 5)], 2)
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
