"""The libraries that can compute a trained network."""

from importlib.util import find_spec

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
