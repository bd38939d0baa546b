"""Glands of whole images: to the pixels of a model, through it, and back."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from semimoe.datasets.image_resolution import Resolution, enlarged, isotropic
from semimoe.model_card import ModelCard
from semimoe.prediction.predictor import Predictor
from tiling.raster.blending import predict_image
from tiling.raster.quantise import quantise_maps
from tiling.raster.split_rule import SplitParameters, split_glands

if TYPE_CHECKING:
    from semimoe.devices import RequestedPrecision


class ImagePredictor:
    """A trained model for images in memory.

    Attributes
    ----------
    card : what `model.json` says
    resolution : how images are brought to the model's pixels
    how : precision and flips, as they are
    """

    def __init__(
        self,
        folder: Path,
        *,
        device: Literal["cpu", "gpu"],
        threads: int,
        batch: int = 8,
        image_mpp_um: float | None = None,
        min_area_um2: float | None = None,
        precision: "RequestedPrecision" = "fp32",
        flips: bool = False,
    ) -> None:
        """Load a model folder.

        Parameters
        ----------
        image_mpp_um : pixel size of the images, um; None: as those trained on
        min_area_um2 : smaller objects are dropped; None: as in training
        precision, flips : see `Predictor`
        """
        self._predictor = Predictor.load(
            folder, device=device, threads=threads, precision=precision, flips=flips
        )
        self.how = {"precision": self._predictor.precision, "flips": flips}
        self.card = card = self._predictor.card
        self.resolution = _resolution(card, image_mpp_um)
        self._batch, self._tile_px = batch, card.tile_px
        if min_area_um2 is None:
            min_area_um2 = 0.0 if card.training is None else card.training.min_area_um2
        self._split = SplitParameters(
            threshold=card.threshold,
            seed_depth_um=card.split.seed_depth_um,
            boundary_level=card.split.boundary_level,
            growth_um=card.split.growth_um,
            min_area_um2=min_area_um2,
            sdf_um=card.sdf_um,
            use_sdf=card.splits_by_distance,
        )

    def maps(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Maps at the working resolution, float32 (4, h, w), of an image uint8 (3, H, W); see `Predictor`."""
        small = self.resolution.image(image)
        return predict_image(
            self._predictor,
            small,
            tile_px=self._tile_px,
            overlap_px=self._tile_px // 4,
            batch=self._batch,
        )

    def glands(self, maps: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.int32]:
        """One number per gland, int32 (H, W), on the pixels of the image that the maps were made of."""
        gland, sdf, boundary, _ = quantise_maps(maps)
        mpp_um = self.resolution.mpp_um
        glands = split_glands(
            gland, sdf, boundary, mpp_um=mpp_um, um2_per_px=mpp_um**2, parameters=self._split
        )
        return enlarged(glands, self.resolution.reduction(shape), shape)


def _resolution(card: ModelCard, image_mpp_um: float | None) -> Resolution:
    """That of training; a model of slides takes images at its own pixel size unless another is given."""
    trained = card.notes.resolution
    image_mpp_um = image_mpp_um or (card.mpp_um if trained is None else trained.image_mpp_um)
    if trained is not None and trained.square_px is not None:
        return Resolution(image_mpp_um, card.mpp_um, trained.square_px)
    return isotropic(image_mpp_um, card.mpp_um)
