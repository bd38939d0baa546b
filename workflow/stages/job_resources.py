"""What Snakemake grants to a job, and what the machine of the job provides."""

import logging
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobResources:
    """What a rule gives to its job.

    Attributes
    ----------
    gpu : number of granted GPUs, `resources.gpu`; 0: the job runs on the CPU
    threads : number of granted threads
    code_version : version of the rule; it is recorded in the store that the job writes
    """

    gpu: int
    threads: int
    code_version: int


def device_for(gpu: int, *, training: bool = False) -> Literal["cpu", "gpu"]:
    """The GPU if one was granted and torch can use it, otherwise the CPU.

    If a granted GPU cannot be used, the log gives the reason and advice.

    Parameters
    ----------
    gpu : `resources.gpu` of the job
    training : the job trains, which takes hours where a prediction takes minutes
    """
    if not gpu:
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "gpu"
    cuda = torch.version.cuda
    reason = (
        "is built without CUDA"
        if cuda is None
        else f"is built for CUDA {cuda} but finds no GPU: check the driver"
    )
    advice = (
        "; the progress line shows the remaining time: a smaller network (workflow/demo.yaml) "
        "or a given model (model=FOLDER) takes less"
    )
    log.warning(
        "running on the CPU although a GPU was granted: torch %s %s%s",
        torch.__version__,
        reason,
        advice if training else "",
    )
    return "cpu"


def training_threads(threads: int) -> int:
    """Threads with which a job of `threads` threads trains.

    One core is left for reading and for other programs: measured on two cores, a step on both took
    1.3 times as long as on one, and 4 times while another job was running.
    """
    return max(threads - 1, 1)


def scratch_folder(scratch: str | None) -> Path | None:
    """The scratch folder on the machine of the job; None if the configuration names none.

    It is read from the configuration and is not a parameter of the rule: no output depends on it.

    Parameters
    ----------
    scratch : key `scratch` of the configuration; it may contain environment variables

    Raises
    ------
    ValueError
        An environment variable or a home folder in it does not exist on this machine.
    """
    if not scratch:
        return None
    folder = os.path.expanduser(os.path.expandvars(scratch))
    if "$" in folder or folder.startswith("~"):
        raise ValueError(
            f"config scratch: {scratch} is not set on {platform.node()}; "
            "name a folder, or set scratch to null"
        )
    return Path(folder)
