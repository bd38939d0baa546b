"""One optimiser step: in one go, in parts where memory is short, or together with other processes.

However a batch is divided, every part knows its share of the whole, and the gradients add up to those of the whole batch.
Batch normalisation alone sees its part: its statistics are those of fewer tiles (of all processes where `SyncBatchNorm` is used).
"""

import logging
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from semimoe.methods.phase import Phase, PhaseLoss, Step, whole
from semimoe.model_errors import TrainingError
from semimoe.objectives.losses import Share, Targets, Terms
from semimoe.settings import NetworkSettings, TrainingSettings
from semimoe.training.batches import Batch

log = logging.getLogger(__name__)


class Stepper:
    """Takes the steps of a run.

    Parameters
    ----------
    model : the network behind autocast
    aggregate, optimizers, phases : of the method
    micro_batch : tiles that go through the network at once, at most; halved when memory runs out
    average : mean over the processes that share each batch, in place; None: there is one process
    """

    def __init__(
        self,
        model: nn.Module,
        aggregate: Callable[[Terms, float], Tensor],
        optimizers: dict[str, torch.optim.Optimizer],
        phases: tuple[Phase, ...],
        *,
        network: NetworkSettings,
        training: TrainingSettings,
        mpp_um: float,
        device: torch.device,
        micro_batch: int,
        average: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.micro_batch = micro_batch
        self._model, self._aggregate, self._optimizers, self._phases = (
            model,
            aggregate,
            optimizers,
            phases,
        )
        self._network, self._training, self._mpp_um, self._device = (
            network,
            training,
            mpp_um,
            device,
        )
        self.average = average

    def take(
        self, labelled: Batch, unlabelled: Batch | None, *, share: float
    ) -> list[PhaseLoss | None]:
        """One optimiser step on all phases (joint), or one on each (two-step).

        Parameters
        ----------
        share : t / T, how much of the schedule is done, [0, 1)

        Returns
        -------
        list of PhaseLoss
            Of each phase, over the whole batch; None where a phase had nothing to do.

        Raises
        ------
        TrainingError
            A loss or a gradient is not finite, or a single tile does not fit into memory.
        """
        given = [
            None if batch is None else batch.to(self._device)
            for batch in self._with_shares(labelled, unlabelled)
        ]
        assert given[0] is not None  # the labelled batch
        groups = (
            [self._phases]
            if self._training.update == "joint"
            else [(phase,) for phase in self._phases]
        )
        made: list[PhaseLoss | None] = []
        for group in groups:
            results = self._gradients(group, given[0], given[1], share)
            if any(result is not None for result in results):
                self._update()
            made.extend(results)
        return made

    def _gradients(
        self, phases: tuple[Phase, ...], labelled: Batch, unlabelled: Batch | None, share: float
    ) -> list[PhaseLoss | None]:
        """Losses of phases, their gradients added up; once more with half as many tiles at a time when memory runs out."""
        while True:
            try:
                return [self._phase(phase, labelled, unlabelled, share) for phase in phases]
            except torch.OutOfMemoryError as error:
                if self.micro_batch == 1:
                    raise TrainingError(
                        f"a single tile of {self._training.tile_px} px does not fit into memory; lower tile_px or width ({error})"
                    ) from error
            # Outside the handler: the traceback holds the tensors that did not fit.
            self.micro_batch = (self.micro_batch + 1) // 2
            log.warning(
                "out of memory: going on with %d tiles at a time, the batch stays %d",
                self.micro_batch,
                self._training.batch,
            )
            for optimizer in self._optimizers.values():
                optimizer.zero_grad(set_to_none=True)
            if self._device.type == "cuda":
                torch.cuda.empty_cache()

    def _phase(
        self, phase: Phase, labelled: Batch, unlabelled: Batch | None, share: float
    ) -> PhaseLoss | None:
        parts = split(labelled, self.micro_batch)
        others = [None] * len(parts) if unlabelled is None else split(unlabelled, self.micro_batch)
        results = []
        for part, other in zip(parts, others, strict=True):
            result = phase(
                Step(
                    self._model,
                    self._aggregate,
                    part,
                    other,
                    share,
                    self._network,
                    self._training,
                    self._mpp_um,
                )
            )
            if result is None:
                return None
            result.loss.backward()  # type: ignore[no-untyped-call]
            results.append(result)
        made = whole(results)
        # Of several processes all stop together, at the gradient that they share.
        if self.average is None and not torch.isfinite(made.loss):
            raise NotFiniteError(f"the loss of {phase.__name__} is {made.loss.item()}")
        return made

    def _update(self) -> None:
        parameters = [
            p
            for o in self._optimizers.values()
            for group in o.param_groups
            for p in group["params"]
            if p.grad is not None
        ]
        gradients = [p.grad for p in parameters if p.grad is not None]
        if self.average is not None:
            flat = self.average(torch.cat([gradient.flatten() for gradient in gradients]))
            for gradient, mean in zip(
                gradients,
                torch.split(flat, [gradient.numel() for gradient in gradients]),
                strict=True,
            ):
                gradient.copy_(mean.view_as(gradient))
        network = [p for group in self._optimizers["network"].param_groups for p in group["params"]]
        norm = nn.utils.get_total_norm([p.grad for p in network if p.grad is not None])
        if not torch.isfinite(norm):
            raise NotFiniteError(f"the gradient is {norm.item()}")
        if self._training.max_grad_norm is not None:
            nn.utils.clip_grads_with_norm_(network, self._training.max_grad_norm, norm)
        for optimizer in self._optimizers.values():
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def _with_shares(self, labelled: Batch, unlabelled: Batch | None) -> Iterator[Batch | None]:
        """The batches of this process as shares of those of all; a mean over processes then is the sum over the whole."""
        if self.average is None:
            yield from (labelled, unlabelled)
            return
        batches = [batch for batch in (labelled, unlabelled) if batch is not None]
        own = torch.stack([_weights(batch) for batch in batches]).to(self._device)  # (batches, 3)
        mean = self.average(own.clone()).tolist()
        for batch, counts, means in zip(batches, own.tolist(), mean, strict=True):
            yield batch._replace(
                share=Share(
                    *(count / of if of else 1.0 for count, of in zip(counts, means, strict=True))
                )
            )
        if unlabelled is None:
            yield None


class NotFiniteError(TrainingError):
    """A loss or gradient is infinite or not a number."""


def split(batch: Batch, most: int) -> list[Batch]:
    """Parts of at most `most` tiles, each with its share."""
    count = len(batch.numbers)
    if count <= most:
        return [batch]
    cuts = [slice(start, start + most) for start in range(0, count, most)]
    total = _weights(batch).tolist()
    parts = []
    for cut in cuts:
        targets = (
            None if batch.targets is None else Targets(*(target[cut] for target in batch.targets))
        )
        part = Batch(
            batch.image[cut],
            batch.weight[cut],
            targets,
            batch.truth[cut],
            batch.truth_weight[cut],
            batch.numbers[cut],
        )
        of_batch = (
            own / all_ if all_ else 1.0
            for own, all_ in zip(_weights(part).tolist(), total, strict=True)
        )
        parts.append(
            part._replace(
                share=Share(
                    *(mine * batchs for mine, batchs in zip(of_batch, batch.share, strict=True))
                )
            )
        )
    return parts


def _weights(batch: Batch) -> Tensor:
    """Tiles, images that have weight, pixels that have weight: float64 (3,)."""
    counts = (batch.weight > 0).flatten(1)  # (B, H W)
    return torch.stack(
        [torch.tensor(len(counts), device=counts.device), counts.any(1).sum(), counts.sum()]
    ).double()
