"""The libraries that can compute a trained network."""

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from semimoe.settings import Runtime


def runtime_problem(runtime: Runtime) -> str | None:
    """Why a runtime cannot be used in this environment, with the remedy; None if it can.

    >>> runtime_problem("torch")
    """
    if runtime == "torch" or find_spec("openvino") is not None:
        return None
    return (
        "the package openvino is not installed; install it with"
        " python -m pip install 'openvino==2026.4.*', or set prediction.runtime: torch"
    )


def import_openvino() -> ModuleType:
    """The package openvino, which must be installed, without its reports of use.

    With the package openvino_telemetry, every import of openvino sends an event over the network
    and writes a user number into the home folder. Without it, openvino uses an empty substitute.
    """
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # import fails
    return import_module("openvino")
