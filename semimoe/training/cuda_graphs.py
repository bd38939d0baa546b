"""CUDA graphs: operations are recorded once, and started together afterwards.

A step of a small network consists of some thousand short operations, and starting them one by one
takes longer than their work on the GPU.
"""

from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from semimoe.methods.learner import Learner, Phase, PhaseLoss, Step

# Libraries choose their algorithms in the first calls, which must not be recorded.
_CALLS_BEFORE_RECORDING = 3
# Each recording keeps its memory. Inputs of more shapes are computed without a recording.
_MOST_RECORDINGS = 4

Inputs = TypeVar("Inputs", bound=tuple[Any, ...])
Results = TypeVar("Results")


class _Recording(NamedTuple):
    """A recorded call, the tensors that it reads, and its results."""

    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor]
    results: Any

    def replay(self, inputs: object) -> Any:  # noqa: ANN401  # results of the recorded function
        for static, tensor in zip(self.inputs, gpu_tensors(inputs), strict=True):
            static.copy_(tensor, non_blocking=True)
        self.graph.replay()
        return self.results


class RecordedFunction(Generic[Inputs, Results]):
    """A function of tensors on a GPU that is recorded for each combination of input shapes.

    Parameters
    ----------
    function : from nested named tuples to nested named tuples of tensors. It copies nothing to or
        from the CPU, and chooses nothing by the value of a tensor
    """

    def __init__(self, function: Callable[[Inputs], Results]) -> None:
        self._function = function
        self._recordings: dict[tuple[Any, ...], _Recording] = {}

    def __call__(self, inputs: Inputs) -> Results:
        """Results of the function; the next call with inputs of the same shapes overwrites them."""
        key = tuple((tensor.shape, tensor.dtype) for tensor in gpu_tensors(inputs))
        if key not in self._recordings:
            if len(self._recordings) >= _MOST_RECORDINGS:
                return self._function(inputs)
            self._recordings[key] = _record(self._function, inputs)
        results: Results = self._recordings[key].replay(inputs)
        return results


class PhaseGraphs:
    """Computes losses and gradients of phases by recorded calls.

    Parameters
    ----------
    backward : computes the loss and the gradients of one phase for one step
    """

    def __init__(self, learner: Learner, backward: Callable[[Phase, Step], PhaseLoss]) -> None:
        self._learner, self._backward = learner, backward
        self._recordings: dict[tuple[Phase, ...], _Recording] = {}
        self._gradients: dict[tuple[Phase, ...], list[tuple[nn.Parameter, Tensor]]] = {}

    def gradients(self, phases: tuple[Phase, ...], step: Step) -> list[PhaseLoss]:
        """Losses of phases; their gradients are added up. All steps have the same shapes.

        The results are overwritten by the next call with the same phases.
        """
        if phases not in self._recordings:
            self._recordings[phases] = self._record(phases, step)
            self._gradients[phases] = [
                (parameter, parameter.grad)
                for parameter in self._learner.parameters()
                if parameter.grad is not None
            ]
        results: list[PhaseLoss] = self._recordings[phases].replay(step)
        for parameter, gradient in self._gradients[phases]:
            parameter.grad = gradient
        return results

    def _record(self, phases: Sequence[Phase], step: Step) -> _Recording:
        state = {name: tensor.clone() for name, tensor in self._learner.state_dict().items()}
        random_state = torch.cuda.get_rng_state()

        def compute(static_step: Step) -> list[PhaseLoss]:
            return [self._backward(phase, static_step) for phase in phases]

        def restore() -> None:
            self._learner.zero_grad(set_to_none=True)
            with torch.no_grad():  # the calls changed running statistics
                for name, tensor in self._learner.state_dict().items():
                    tensor.copy_(state[name])
            torch.cuda.set_rng_state(random_state)

        return _record(compute, step, restore)


def _record(
    function: Callable[[Inputs], object],
    inputs: Inputs,
    restore: Callable[[], None] = lambda: None,
) -> _Recording:
    """Record a call.

    Parameters
    ----------
    restore : undoes what the calls before the recording changed
    """
    static = [tensor.clone() for tensor in gpu_tensors(inputs)]
    static_inputs = _with_tensors(inputs, static)
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_CALLS_BEFORE_RECORDING):
            function(static_inputs)
            restore()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    # The thread that reads tiles allocates pinned memory, which would end a global recording.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        results = function(static_inputs)
    return _Recording(graph, static, results)


def gpu_tensors(values: object) -> list[Tensor]:
    """All tensors on a GPU in nested named tuples, in a fixed order."""
    if isinstance(values, Tensor):
        return [values] if values.is_cuda else []
    if isinstance(values, tuple):
        return [tensor for value in values for tensor in gpu_tensors(value)]
    return []


def _with_tensors(values: Inputs, tensors: Sequence[Tensor]) -> Inputs:
    """Copy of nested named tuples with other tensors, in the order of `gpu_tensors`."""
    following = iter(tensors)

    def replaced(value: Any) -> Any:  # noqa: ANN401  # nested named tuples
        if isinstance(value, Tensor):
            return next(following) if value.is_cuda else value
        if isinstance(value, tuple):
            parts = [replaced(part) for part in value]
            return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
        return value

    result: Inputs = replaced(values)
    return result
