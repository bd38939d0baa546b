"""One optimiser step: on the whole batch, in parts to save memory, or shared by processes.

However a batch is divided, every part has its share of the batch, and the gradients add up to the
gradient of the whole batch. Only two things differ. Batch normalisation: its statistics are those
of the part (or of all processes where `SyncBatchNorm` is used). The balance of the gates
(`training.gate_balance`): each part is balanced on its own.
"""

import logging
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from semimoe.methods.learner import Forward, Learner, Phase, PhaseLoss, Step, sum_of_parts
from semimoe.methods.optimizers import LOSS_SCALES
from semimoe.model_errors import TrainingError
from semimoe.objectives.batch import Batch
from semimoe.objectives.losses import BatchShare, Targets
from semimoe.training.cuda_graphs import PhaseGraphs
from semimoe.training.unread_values import StepTiles, UnreadValues, check_finite

log = logging.getLogger(__name__)

Average = Callable[[Tensor], Tensor]

# A GPU computes this many steps before their losses are read: reading them waits for the GPU.
_STEPS_PER_CHECK = 16


class Stepper:
    """Takes the optimiser steps of a run.

    Parameters
    ----------
    learner, optimizers : of the method
    forward : runs a network on images, at the precision of the run
    device : of the learner
    micro_batch : largest number of tiles in one forward pass; halved when memory runs out
    average : mean over the processes that share each batch, in place; None: one process
    """

    def __init__(
        self,
        learner: Learner,
        optimizers: dict[str, torch.optim.Optimizer],
        forward: Forward,
        *,
        device: torch.device,
        micro_batch: int,
        average: Average | None = None,
    ) -> None:
        self.micro_batch = micro_batch
        self.average = average
        self._learner, self._optimizers, self._forward = learner, optimizers, forward
        self._device = device
        self._training = learner.context.training
        self._graphs: PhaseGraphs | None = None
        if device.type == "cuda" and average is None and learner.is_recordable:
            self._graphs = PhaseGraphs(learner, self._part_gradients)
        self._steps_taken = 0
        self._unread: list[UnreadValues] = []

    def take(
        self, labelled: Batch, unlabelled: Batch | None, *, progress: float
    ) -> list[PhaseLoss]:
        """One optimiser step on all phases (joint), or one on each (two-step).

        Without an unlabelled batch, or if the weight of its loss is 0, the supervised phase alone.

        Parameters
        ----------
        progress : t / T, part of the schedule that is done, [0, 1)

        Returns
        -------
        list of PhaseLoss
            Result of each phase for the whole batch.

        Raises
        ------
        NotFiniteError
            A loss or a gradient is not finite. On a GPU it may be that of an earlier step.
        TrainingError
            A single tile does not fit into memory.
        """
        self._steps_taken += 1
        phases = self._learner.phases()
        if unlabelled is None or self._training.unsup_max == 0:
            unlabelled, phases = None, phases[:1]
        tiles = StepTiles(labelled.numbers, None if unlabelled is None else unlabelled.numbers)
        step = Step(
            self._forward,
            labelled.to(self._device),
            None if unlabelled is None else unlabelled.to(self._device),
            torch.tensor(progress, dtype=torch.float32).to(self._device, non_blocking=True),
        )
        if self.average is not None:
            step = self._with_shares(step, self.average)
        groups = [phases] if self._training.update == "joint" else [(phase,) for phase in phases]
        losses: list[PhaseLoss] = []
        for group in groups:
            results = self._gradients(group, step)
            self._update(tiles, group, results)
            losses.extend(results)
        return losses

    def check(self) -> None:
        """Read the losses and gradient norms of all steps that were not read yet.

        Raises
        ------
        NotFiniteError
            One of them is not finite.
        """
        if not self._unread:
            return
        unread, self._unread = self._unread, []
        check_finite(unread, latest_step=self._steps_taken)

    def _gradients(self, phases: tuple[Phase, ...], step: Step) -> list[PhaseLoss]:
        """Losses of phases with their gradients added up.

        When memory runs out, it starts again with half as many tiles at a time.
        """
        while True:
            try:
                is_divided = len(step.labelled.numbers) > self.micro_batch
                if self._graphs is not None and not is_divided:
                    return self._graphs.gradients(phases, step)
                if is_divided:
                    step = self._learner.labelled_before_division(step, most_tiles=self.micro_batch)
                return [self._phase(phase, step) for phase in phases]
            except torch.OutOfMemoryError as error:
                if self.micro_batch == 1:
                    raise TrainingError(
                        f"a single tile of {self._training.tile_px} px does not fit into memory;"
                        f" lower tile_px or width ({error})"
                    ) from error
            # Not inside `except`: the error keeps the tensors that use up the memory.
            self.micro_batch = (self.micro_batch + 1) // 2
            log.warning(
                "out of memory: continuing with %d tiles at a time, the batch stays %d",
                self.micro_batch,
                self._training.batch,
            )
            for optimizer in self._optimizers.values():
                optimizer.zero_grad(set_to_none=True)
            if self._device.type == "cuda":
                torch.cuda.empty_cache()

    def _phase(self, phase: Phase, step: Step) -> PhaseLoss:
        parts = divide(step.labelled, self.micro_batch)
        others: list[Batch] | list[None] = [None] * len(parts)
        if step.unlabelled is not None:
            others = divide(step.unlabelled, self.micro_batch)
        return sum_of_parts(
            [
                self._part_gradients(phase, step._replace(labelled=part, unlabelled=other))
                for part, other in zip(parts, others, strict=True)
            ]
        )

    def _part_gradients(self, phase: Phase, step: Step) -> PhaseLoss:
        """Loss of a phase, without gradient; the gradients of the parameters are added up."""
        result = phase(step)
        result.loss.backward()  # type: ignore[no-untyped-call]
        return result._replace(loss=result.loss.detach())

    def _update(
        self, tiles: StepTiles, phases: tuple[Phase, ...], results: list[PhaseLoss]
    ) -> None:
        gradients = [parameter.grad for parameter in self._parameters(*self._optimizers)]
        if self.average is not None:
            _average_gradients(
                [gradient for gradient in gradients if gradient is not None], self.average
            )
        names = [name for name in self._optimizers if name != LOSS_SCALES]
        parameters = list(self._parameters(*names))
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        # With several processes only the gradient is checked: it is the same in all of them, so
        # that all of them stop.
        values = {"the gradient": norm}
        if self.average is None:
            losses = {
                f"the loss of {getattr(phase, '__name__', 'a phase')}": result.loss
                for phase, result in zip(phases, results, strict=True)
            }
            values = losses | values
        self._unread.append(
            UnreadValues(
                self._steps_taken, tiles, tuple(values), torch.stack(list(values.values()))
            )
        )
        if self._device.type == "cpu" or len(self._unread) >= _STEPS_PER_CHECK:
            self.check()
        if self._training.max_grad_norm is not None:
            nn.utils.clip_grads_with_norm_(parameters, self._training.max_grad_norm, norm)
        for optimizer in self._optimizers.values():
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def _parameters(self, *names: str) -> Iterator[nn.Parameter]:
        """Parameters of the named optimisers that have a gradient."""
        for name in names:
            for group in self._optimizers[name].param_groups:
                yield from (p for p in group["params"] if p.grad is not None)

    def _with_shares(self, step: Step, average: Average) -> Step:
        """Set the shares that the batches of this process have of the batches of all processes.

        The mean over the processes is then the sum over the whole batch.
        """
        step = self._learner.labelled_before_division(step, most_tiles=self.micro_batch)
        present = [batch for batch in (step.labelled, step.unlabelled) if batch is not None]
        own = torch.stack([_sizes(batch) for batch in present])  # (batches, 3)
        mean = average(own.clone()).tolist()
        shares = [
            BatchShare(*map(_ratio, sizes, means))
            for sizes, means in zip(own.tolist(), mean, strict=True)
        ]
        step = step._replace(labelled=step.labelled._replace(share=shares[0]))
        if step.unlabelled is None:
            return step
        return step._replace(unlabelled=step.unlabelled._replace(share=shares[1]))


def divide(batch: Batch, most_tiles: int) -> list[Batch]:
    """Parts of at most `most_tiles` tiles, each with its share of the batch."""
    count = len(batch.numbers)
    if count <= most_tiles:
        return [batch]
    sizes = _sizes(batch).tolist()
    parts = []
    for start in range(0, count, most_tiles):
        rows = slice(start, start + most_tiles)
        part = Batch(
            batch.image[rows],
            batch.weight[rows],
            None if batch.targets is None else Targets(*(target[rows] for target in batch.targets)),
            batch.truth[rows],
            batch.truth_weight[rows],
            batch.numbers[rows],
            weakly_augmented=(
                None if batch.weakly_augmented is None else batch.weakly_augmented[rows]
            ),
        )
        shares_of_batch = map(_ratio, _sizes(part).tolist(), sizes)
        share = (
            part_share * batch_share
            for part_share, batch_share in zip(shares_of_batch, batch.share, strict=True)
        )
        parts.append(part._replace(share=BatchShare(*share)))
    return parts


def _average_gradients(gradients: list[Tensor], average: Average) -> None:
    """Replace gradients by their means over the processes, in one communication."""
    flat = average(torch.cat([gradient.flatten() for gradient in gradients]))
    sizes = [gradient.numel() for gradient in gradients]
    for gradient, mean in zip(gradients, torch.split(flat, sizes), strict=True):
        gradient.copy_(mean.view_as(gradient))


def _ratio(part: float, total: float) -> float:
    """Part divided by total; 1 if the total is 0."""
    return part / total if total else 1.0


def _sizes(batch: Batch) -> Tensor:
    """Number of tiles, of images in which a pixel counts, of pixels that count: float64 (3,)."""
    has_weight = (batch.weight > 0).flatten(1)  # (B, H W)
    tiles = torch.tensor(len(has_weight), device=has_weight.device)
    return torch.stack([tiles, has_weight.any(1).sum(), has_weight.sum()]).double()
