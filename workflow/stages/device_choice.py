"""The device of a job: what Snakemake granted, where this machine has it."""

import logging
from typing import Literal

log = logging.getLogger(__name__)


def device_for(gpu: int, *, training: bool = False) -> Literal["cpu", "gpu"]:
    """The GPU where one was granted and torch sees it; otherwise the CPU, with the reason and the ways out in the log.

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
    built = (
        "is a build without CUDA"
        if cuda is None
        else f"for CUDA {cuda} sees no GPU: look at the driver"
    )
    ways = "; the progress line tells the time: less by a smaller network (workflow/demo.yaml) or a given model (model=FOLDER)"
    log.warning(
        "on the CPU, although a GPU was granted: torch %s %s%s",
        torch.__version__,
        built,
        ways if training else "",
    )
    return "cpu"
