"""A trained model as a function from images to maps.

B batch, H, W sides (multiples of 16).
"""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from semimoe.model_errors import DeviceError, ModelError
from semimoe.settings import METHODS, STRIDE_PX, NetworkSettings
from semimoe.tensor_files import CARD, WEIGHTS, load_card, load_tensors

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from semimoe.devices import AskedPrecision, Precision
    from semimoe.networks.build import Network
    from semimoe.networks.mixture import Outputs

log = logging.getLogger(__name__)

Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

# Share of the full scale of the distance field over which its opinion changes from background to gland.
_SDF_SOFTNESS = 0.1
# Axes of (B, C, H, W) along which a view is turned over: the image itself, left-right, up-down, both.
_VIEWS = ((), (3,), (2,), (2, 3))


class Fitting:
    """A function of images, called with as many at once as fit into memory: half as many each time it runs out.

    Attributes
    ----------
    most : images at once, at most; None: as many as are given
    """

    def __init__(
        self, function: Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], ...]]
    ) -> None:
        self._function = function
        self.most: int | None = None

    def __call__(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        """Results for images (B, ...), each (B, ...).

        Raises
        ------
        DeviceError
            A single image does not fit.
        """
        import torch

        while True:
            step = min(self.most or len(images), len(images))
            try:
                parts = [
                    self._function(images[start : start + step])
                    for start in range(0, len(images), step)
                ]
                return (
                    parts[0]
                    if len(parts) == 1
                    else tuple(np.concatenate(results) for results in zip(*parts, strict=True))
                )
            except torch.OutOfMemoryError as error:
                if step == 1:
                    raise DeviceError(
                        f"a single tile of {images.shape[-1]} px does not fit into memory; use smaller tiles ({error})"
                    ) from error
            # Outside the handler: the traceback holds the tensors that did not fit.
            self.most = (step + 1) // 2
            log.warning("out of memory: going on with %d tiles at a time", self.most)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


class Predictor:
    """A trained model, ready on its device; call it on images.

    Attributes
    ----------
    card : what `model.json` says (threshold, split parameters, mpp_um, tile_px, ...)
    precision : fp32, or bf16: autocast, maps of which differ by a few 1/255
    flips : maps and gate weights are means over the image and its three flips, for four times the work
    """

    def __init__(
        self,
        model: "Network",
        card: dict[str, Any],
        device: "torch.device",
        *,
        precision: "Precision" = "fp32",
        flips: bool = False,
    ) -> None:
        import torch

        self.card, self.precision, self.flips = card, precision, flips
        self._device = device
        self._fitting = Fitting(self._forward)
        self._model = model.to(memory_format=torch.channels_last).to(device).eval()  # type: ignore[call-overload]

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        device: Literal["cpu", "gpu"],
        threads: int,
        precision: "AskedPrecision" = "fp32",
        flips: bool = False,
    ) -> "Predictor":
        """Load a model folder.

        Parameters
        ----------
        precision, flips : see the attributes; auto: bf16 where the device computes it natively

        Raises
        ------
        ModelError
            Its files are missing, damaged or do not belong together.
        DeviceError
            A GPU was asked for and is not to be had.
        """
        from semimoe.devices import choose_device, precision_for
        from semimoe.networks.build import build_network

        card = load_card(folder)
        tensors, _ = load_tensors(folder / WEIGHTS)
        if card["method"] not in METHODS:
            raise ModelError(
                f"{folder / CARD}: method {card['method']!r}, this program knows {', '.join(METHODS)}; update it"
            )
        try:
            model = build_network(card["method"], NetworkSettings(**card["network"]))
            model.load_state_dict(tensors)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ModelError(
                f"{folder}: {WEIGHTS} does not fit {CARD} ({str(error).splitlines()[0]}); fetch both from one run"
            ) from error
        where = choose_device(device, threads=threads)
        return cls(model, card, where, precision=precision_for(precision, device), flips=flips)

    @classmethod
    def untrained(
        cls,
        network: NetworkSettings,
        *,
        threads: int,
        precision: "AskedPrecision" = "fp32",
        flips: bool = False,
    ) -> "Predictor":
        """A network with random weights on the CPU: as fast as a trained one, to tell beforehand how long a run takes."""
        from semimoe.devices import choose_device, precision_for
        from semimoe.networks.build import build_network

        where = choose_device("cpu", threads=threads)
        return cls(
            build_network("semimoe", network),
            {},
            where,
            precision=precision_for(precision, "cpu"),
            flips=flips,
        )

    def tiles_per_s(self, tile_px: int, *, least_s: float = 1.0) -> float:
        """Measured speed on blank tiles, one at a time, over at least `least_s` seconds."""
        blank = np.zeros((1, 3, tile_px, tile_px), np.uint8)
        self(blank)  # the first call sets things up
        start, done = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - start) < least_s or not done:
            self(blank)
            done += 1
        return done / elapsed

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Maps of a batch.

        Parameters
        ----------
        images : uint8 (B, 3, H, W), H and W multiples of 16

        Returns
        -------
        ndarray
            float32 (B, 4, H, W): gland probability (of the gate), signed distance in [-1, 1], boundary probability, disagreement in [0, 1].
        """
        return self.with_gates(images)[0]

    def with_gates(
        self, images: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Maps as above, and the gate weights, float32 (B, 3 tasks, 3 experts), tasks and experts in the order seg, sdf, bnd.

        Where there is no such gate or expert the weight is 0.
        """
        maps, gates = self._fitting(np.ascontiguousarray(images))
        return maps, gates

    @property
    def most_at_once(self) -> int | None:
        """Tiles that fitted into memory at once after it ran out; None: it never did. A run that goes on sets what it knows."""
        return self._fitting.most

    @most_at_once.setter
    def most_at_once(self, most: int | None) -> None:
        self._fitting.most = most

    def _forward(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        import torch

        with torch.inference_mode():
            given = torch.from_numpy(images).to(self._device)
            seen = [self._view(given, axes) for axes in (_VIEWS if self.flips else _VIEWS[:1])]
            return tuple(_mean(parts).cpu().numpy() for parts in zip(*seen, strict=True))

    def _view(self, images: "Tensor", axes: tuple[int, ...]) -> "tuple[Tensor, Tensor]":
        """Maps and gate weights of images turned over along axes, the maps turned back."""
        import torch

        with torch.autocast(self._device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            outputs = self._model(images.flip(axes) if axes else images)
        maps = maps_of(outputs)
        return maps.flip(axes) if axes else maps, self._named_weights(outputs)

    def _named_weights(self, outputs: "Outputs") -> "Tensor":
        """Gate weights by task and expert, whatever gates and experts there are, float32 (B, 3, 3)."""
        import torch

        from semimoe.networks.mixture import TASKS

        named = torch.zeros((len(outputs.gates.seg), len(TASKS), len(TASKS)), device=self._device)
        if outputs.gate_weights is not None:
            settings = self._model.settings
            gates, experts = (
                [TASKS.index(task) for task in tasks]
                for tasks in (settings.gates_of, settings.experts_of)
            )
            named[:, torch.tensor(gates)[:, None], torch.tensor(experts)] = (
                outputs.gate_weights.float()
            )
        return named


def _mean(views: "Sequence[Tensor]") -> "Tensor":
    """Mean over one view or the four, in the pairs that flips exchange: a flipped image then gives the same sums, to the bit."""
    if len(views) == 1:
        return views[0]
    plain, left_right, up_down, both = views
    return ((plain + left_right) + (up_down + both)) / len(views)


def maps_of(outputs: "Outputs") -> "Tensor":
    """Outputs of the network as maps, float32 (B, 4, H, W).

    Disagreement is the range, max - min, of three opinions on "gland": the gate's probability, the seg expert's, and
    sigmoid(s / 0.1) of the sdf expert's signed distance s. Where a task has no gate its expert is asked; where it has no expert
    either, the map is 0.
    """
    import torch

    gates, experts = outputs.gates, outputs.experts
    gland = torch.softmax(gates.seg.float(), 1)[:, 1]  # (B, H, W)
    nothing = torch.zeros_like(gland)
    bnd = experts.bnd if gates.bnd is None else gates.bnd
    boundary = nothing if bnd is None else torch.softmax(bnd.float(), 1)[:, 1]
    sdf = experts.sdf if gates.sdf is None else gates.sdf
    distance = nothing if sdf is None else torch.tanh(sdf.float()[:, 0])
    opinions = [gland, torch.softmax(experts.seg.float(), 1)[:, 1]]
    if experts.sdf is not None:
        opinions.append(torch.sigmoid(torch.tanh(experts.sdf.float()[:, 0]) / _SDF_SOFTNESS))
    said = torch.stack(opinions)  # (2 or 3, B, H, W)
    return torch.stack([gland, distance, boundary, said.amax(0) - said.amin(0)], dim=1)


def predict_array(
    predict: Predict, image: NDArray[np.uint8], *, tile_px: int, overlap_px: int, batch: int
) -> NDArray[np.float32]:
    """Maps of an image of any size that fits in memory, blended from overlapping tiles.

    Parameters
    ----------
    predict : a `Predictor`, or any function uint8 (B, 3, H, W) -> float32 (B, K, H, W)
    image : uint8 (3, H, W); mirrored at its edges where tiles reach beyond
    tile_px, overlap_px : side of a tile, and what neighbours share, px

    Returns
    -------
    ndarray
        float32 (K, H, W). Weights fall linearly towards a tile's edge, so a constant prediction stays constant.
    """
    if not 0 <= overlap_px < tile_px or tile_px % STRIDE_PX:
        raise ValueError(
            f"tile_px {tile_px}, overlap_px {overlap_px}: a multiple of {STRIDE_PX} and less than it are needed"
        )
    height, width = image.shape[1:]
    origins = [
        (y, x)
        for y in _origins(height, tile_px, overlap_px)
        for x in _origins(width, tile_px, overlap_px)
    ]
    full = [
        max(side[-1] + tile_px, length)
        for side, length in zip(zip(*origins, strict=True), (height, width), strict=True)
    ]
    padded = np.pad(image, ((0, 0), (0, full[0] - height), (0, full[1] - width)), mode="symmetric")
    ramp = (
        np.minimum(np.arange(1, tile_px + 1), np.arange(tile_px, 0, -1))
        .clip(max=overlap_px + 1)
        .astype(np.float32)
    )
    taper = np.outer(ramp, ramp)
    total: NDArray[np.float32] | None = None
    weight = np.zeros(full, np.float32)
    for start in range(0, len(origins), batch):
        chosen = origins[start : start + batch]
        tiles = np.stack([padded[:, y : y + tile_px, x : x + tile_px] for y, x in chosen])
        for (y, x), maps in zip(chosen, predict(tiles), strict=True):
            if total is None:
                total = np.zeros((len(maps), *full), np.float32)
            total[:, y : y + tile_px, x : x + tile_px] += maps * taper
            weight[y : y + tile_px, x : x + tile_px] += taper
    assert total is not None  # there is at least one tile
    blended: NDArray[np.float32] = (total / weight)[:, :height, :width]
    return blended


def _origins(length: int, tile_px: int, overlap_px: int) -> list[int]:
    """Starts of tiles that cover [0, length) with at least the overlap; the last one ends at the end where there is room."""
    if length <= tile_px:
        return [0]
    count = -(-(length - overlap_px) // (tile_px - overlap_px))
    return [round(i * (length - tile_px) / (count - 1)) for i in range(count)]
