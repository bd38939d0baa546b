"""Chooses the device of a job: the CPU, or a GPU that no other job of this program uses."""

import ctypes
import logging
import os
import platform
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from filelock import lock_descriptor

from semimoe.model_errors import DeviceError
from semimoe.settings import Device, Precision, PrecisionChoice

if TYPE_CHECKING:
    import torch
    from lightning.fabric import Fabric

log = logging.getLogger(__name__)

# Numbers of options in malloc.h of glibc.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
# Locked files of the GPUs of this process, by index of the GPU: locked until the process ends.
_LOCK_FILES: dict[int, IO[str]] = {}


def choose_device(device: Device, *, threads: int) -> "torch.device":
    """Set the number of CPU threads, and choose the CPU or a free GPU.

    Raises
    ------
    DeviceError
        A GPU was requested, but there is none, or other jobs of this program use all of them.
    """
    import torch

    torch.set_num_threads(threads)
    if device == "cpu":
        return torch.device("cpu")
    check_gpu()
    count = torch.cuda.device_count()
    index = claim_free_gpu(count)
    torch.cuda.set_device(index)  # streams and recorded operations use the current device
    log.info("using GPU %d of %d (%s)", index, count, torch.cuda.get_device_name(index))
    return torch.device("cuda", index)


def check_gpu() -> None:
    """Check that there is a GPU.

    Raises
    ------
    DeviceError
        There is none.
    """
    import torch

    if not torch.cuda.is_available():
        raise DeviceError(
            f"a GPU was requested, but torch {torch.__version__} finds none; "
            "run on the CPU (--device cpu; in the workflow --resources gpu=0)"
        )


@dataclass(frozen=True)
class RunDevice:
    """Device of a training, its precision, and the processes that share every batch.

    Attributes
    ----------
    fabric : Lightning's object for several processes; None: there is only this process
    """

    device: "torch.device"
    precision: Precision
    fabric: "Fabric | None" = None

    @property
    def rank(self) -> int:
        """Index of this process."""
        return self.fabric.global_rank if self.fabric else 0

    @property
    def processes(self) -> int:
        """Number of processes."""
        return self.fabric.world_size if self.fabric else 1

    def autocast(self) -> "torch.autocast":
        """Context in which a network computes at the precision of the run."""
        import torch

        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def barrier(self) -> None:
        """Wait until all processes are here."""
        if self.fabric:
            self.fabric.barrier()

    def average(self, tensor: "torch.Tensor") -> "torch.Tensor":
        """Mean over all processes, in place."""
        if self.fabric is None:
            return tensor
        mean: torch.Tensor = self.fabric.strategy.all_reduce(tensor, reduce_op="mean")
        return mean


def start_device(device: Device, *, devices: int, threads: int, precision: Precision) -> RunDevice:
    """Choose the device of a training; with several, start the processes.

    With several devices, this command is started again once for each further device.

    Raises
    ------
    DeviceError
        As of `choose_device`, or there are fewer GPUs than `devices`.
    """
    import torch

    if device == "cpu":
        keep_freed_memory()
    if devices == 1:
        return RunDevice(choose_device(device, threads=threads), precision)
    if device == "gpu":
        check_gpu()
        gpu_count = torch.cuda.device_count()
        if gpu_count < devices:
            raise DeviceError(
                f"{devices} GPUs were requested, but torch {torch.__version__} finds {gpu_count}; "
                f"give --devices {gpu_count}"
            )
    # Imported here: the import takes seconds, and one process does not need it.
    from lightning.fabric import Fabric

    accelerator = "cpu" if device == "cpu" else "cuda"
    fabric = Fabric(accelerator=accelerator, devices=devices, strategy="ddp")
    fabric.launch()
    torch.set_num_threads(threads)  # after the launch, which sets another number
    return RunDevice(fabric.device, precision, fabric)


def keep_freed_memory() -> None:
    """Keep the memory of freed tensors in this process, for the next tensors; only with glibc.

    Otherwise each large tensor gets new pages from the system, which sets them to zero: an eighth
    of the time of a training step. The memory is free for other processes when this one ends.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)  # never


def resolve_precision(requested: PrecisionChoice, device: Device) -> Precision:
    """The requested precision; for auto that of `native_precision`."""
    return native_precision(device) if requested == "auto" else requested


def native_precision(device: Device) -> Precision:
    """bf16 where the device computes it natively, otherwise fp32: emulated bf16 is slower.

    Native are CPUs with AVX-512 BF16 or AMX, and GPUs from Ampere on.
    """
    import torch

    if device == "gpu":
        native = torch.cuda.is_available() and torch.cuda.is_bf16_supported(
            including_emulation=False
        )
    else:
        native = "avx512_bf16" in _cpu_info()
    return "bf16" if native else "fp32"


def _cpu_info() -> str:
    """Linux's description of the CPU with its instruction sets; empty on other systems."""
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


def claim_free_gpu(count: int, folder: Path | None = None) -> int:
    """Index of the first of `count` GPUs that no other job of this program uses.

    A locked file marks a GPU as used, until this process ends. The only GPU of a machine is not
    locked: several jobs on such a machine share it.

    Parameters
    ----------
    folder : folder of the lock files; None: the folder of the machine for temporary files

    Raises
    ------
    DeviceError
        Other jobs use all GPUs, or a lock file cannot be opened.
    """
    if count == 1:
        return 0
    if _LOCK_FILES:
        return next(iter(_LOCK_FILES))
    folder = folder or Path(tempfile.gettempdir())
    for index in range(count):
        lock_file = _open_lock_file(folder / f"semimoe-gpu-{_gpu_name(index, count)}.lock")
        # Not FileLock: in a shared folder it refuses a file that another user created.
        if lock_descriptor(lock_file.fileno(), blocking=False):
            _LOCK_FILES[index] = lock_file
            return index
        lock_file.close()
    raise DeviceError(
        f"other jobs of this program use all {count} GPUs; "
        f"allow at most {count} jobs at a time, e.g. --resources gpu={count}"
    )


def _gpu_name(index: int, count: int) -> str:
    """Name of a GPU for its lock file, the same in all processes.

    Processes with different CUDA_VISIBLE_DEVICES count the same GPUs in different orders.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    name = visible[index] if len(visible) == count else str(index)
    return "".join(character for character in name if character.isalnum() or character == "-")


def _open_lock_file(path: Path) -> IO[str]:
    """The file, created if it is missing; another user's file is opened for reading."""
    try:
        with suppress(FileExistsError):
            file = path.open("x")
            # Only of a new file, which is no link; a umask may forbid other users to open it.
            os.fchmod(file.fileno(), 0o644)
            return file
        try:
            return path.open("a")
        except PermissionError:
            return path.open()
    except OSError as error:
        raise DeviceError(
            f"{path}: the lock file of a GPU cannot be opened ({error.strerror}); its owner must "
            "delete it, or set TMPDIR to another folder"
        ) from error
