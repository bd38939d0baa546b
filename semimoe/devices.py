"""Which device a job works on."""

import fcntl
import logging
import os
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from semimoe.model_errors import DeviceError

if TYPE_CHECKING:
    import torch
    from lightning.fabric import Fabric

log = logging.getLogger(__name__)

Precision = Literal["fp32", "bf16"]
AskedPrecision = Literal["auto", "fp32", "bf16"]

# Locks of claimed devices: held until this process ends.
_HELD: dict[int, IO[str]] = {}


def choose_device(device: Literal["cpu", "gpu"], *, threads: int) -> "torch.device":
    """Set the number of CPU threads and choose the device; of several GPUs a free one is claimed by a file lock.

    Raises
    ------
    DeviceError
        A GPU was asked for and there is none, or all are claimed by other jobs.
    """
    import torch

    torch.set_num_threads(threads)
    if device == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise DeviceError(
            f"a GPU was asked for, but torch {torch.__version__} sees none; run on the CPU with --resources gpu=0"
        )
    count = torch.cuda.device_count()
    index = claim(count)
    log.info("on GPU %d of the %d seen (%s)", index, count, torch.cuda.get_device_name(index))
    return torch.device("cuda", index)


def start_fabric(
    device: Literal["cpu", "gpu"], *, devices: int, threads: int, precision: Precision
) -> "Fabric":
    """Lightning's device, autocast and, with several devices, one process for each (this command is started once more for them).

    Raises
    ------
    DeviceError
        As of `choose_device`, or fewer GPUs than asked for.
    """
    import torch
    from lightning.fabric import Fabric

    autocast: Literal["bf16-mixed", "32-true"] = "bf16-mixed" if precision == "bf16" else "32-true"
    if devices == 1:
        where = choose_device(device, threads=threads)
        return Fabric(
            accelerator="cpu" if device == "cpu" else "cuda",
            devices=1 if device == "cpu" else [where.index],
            precision=autocast,
        )
    if device == "gpu" and torch.cuda.device_count() < devices:
        raise DeviceError(
            f"{devices} GPUs were asked for, but torch {torch.__version__} sees {torch.cuda.device_count()}"
        )
    fabric = Fabric(
        accelerator="cpu" if device == "cpu" else "cuda",
        devices=devices,
        strategy="ddp",
        precision=autocast,
    )
    fabric.launch()
    torch.set_num_threads(threads)  # after the launch, which sets its own
    return fabric


def precision_for(asked: AskedPrecision, device: Literal["cpu", "gpu"]) -> Precision:
    """The precision asked for; auto: that of `native_precision`."""
    return native_precision(device) if asked == "auto" else asked


def native_precision(device: Literal["cpu", "gpu"]) -> Precision:
    """bf16 where this machine multiplies it natively (AVX-512 BF16 or AMX, Ampere or newer), else fp32: emulated bf16 is slower."""
    import torch

    if device == "gpu":
        native = torch.cuda.is_available() and torch.cuda.is_bf16_supported(
            including_emulation=False
        )
    else:
        native = "avx512_bf16" in _cpu_flags()
    return "bf16" if native else "fp32"


def _cpu_flags() -> str:
    """What the processor says it can do; empty where the system does not tell."""
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


def claim(count: int, folder: Path | None = None) -> int:
    """Claim one of `count` devices for this process: the first whose lock is free.

    Parameters
    ----------
    folder : where the lock files lie; None: the machine's folder for temporary files

    Raises
    ------
    DeviceError
        All are taken by other processes.
    """
    if count == 1:
        return 0  # nothing to choose; sharing the only device is the caller's decision
    if _HELD:
        return next(iter(_HELD))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    for index in range(count):
        name = visible[index].strip() if len(visible) == count else str(index)
        path = (
            folder or Path(tempfile.gettempdir())
        ) / f"semimoe-gpu-{''.join(c for c in name if c.isalnum() or c == '-')}.lock"
        handle = _opened(path)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            continue
        _HELD[index] = handle
        return index
    raise DeviceError(
        f"all {count} GPUs are in use by other jobs of this program; allow fewer at once, e.g. --resources gpu={count}"
    )


def _opened(path: Path) -> IO[str]:
    """A file to lock; one made by another user can only be read, which is enough."""
    try:
        return path.open("a")
    except PermissionError:
        return path.open()
