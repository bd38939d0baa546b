"""Glands of images in memory: to the working resolution, through a model, and back."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from semimoe.datasets.image_resolution import Resolution, enlarge_labels, isotropic_resolution
from semimoe.model_card import ModelCard, load_card
from semimoe.prediction.predictor import Predictor
from semimoe.settings import Device
from tiling.raster.blending import predict_image
from tiling.raster.quantise import quantise_maps
from tiling.raster.split_parameters import SplitParameters
from tiling.raster.split_rule import split_glands

if TYPE_CHECKING:
    from semimoe.setting_types import FlipsChoice
    from semimoe.settings import Precision, PrecisionChoice


class ImagePredictor:
    """A trained model for images in memory.

    Attributes
    ----------
    card : content of `model.json`
    resolution : how images are brought to the working resolution of the model
    """

    def __init__(
        self,
        folder: Path,
        *,
        device: Device,
        threads: int,
        batch: int = 8,
        image_mpp_um: float | None = None,
        min_area_um2: float | None = None,
        precision: "PrecisionChoice" = "fp32",
        flips: "FlipsChoice" = False,
    ) -> None:
        """Load a model folder.

        Parameters
        ----------
        batch : tiles in one call of the network
        image_mpp_um : pixel size of the images, um; None: that of the training images
        min_area_um2 : smaller objects are removed, um2; None: as in training
        precision, flips : see `Predictor.load`; flips auto also on a CPU: images are small
        """
        if flips == "auto":
            flips = load_card(folder).flips is not None
        self._predictor = Predictor.load(
            folder, device=device, threads=threads, precision=precision, flips=flips
        )
        self.card = self._predictor.card
        self.resolution = _resolution(self.card, image_mpp_um)
        self._batch, self._tile_px = batch, self.card.tile_px
        self._split = _split_parameters(self.card, min_area_um2)

    @property
    def precision(self) -> "Precision":
        """Precision of the network; never auto."""
        return self._predictor.precision

    @property
    def flips(self) -> bool:
        """Whether maps are means over the image and its three flips."""
        return self._predictor.flips

    def maps(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Maps of an image.

        Parameters
        ----------
        image : uint8 (3, H, W)

        Returns
        -------
        ndarray
            float32 (4, h, w) at the working resolution, see `Predictor`.
        """
        return predict_image(
            self._predictor,
            self.resolution.image(image),
            tile_px=self._tile_px,
            overlap_px=self._tile_px // 4,
            batch=self._batch,
        )

    def glands(
        self, maps: NDArray[np.float32], shape: tuple[int, int], *, min_hole_um2: float = 0
    ) -> NDArray[np.int32]:
        """Labels of the glands on the pixels of the image.

        Parameters
        ----------
        maps : float32 (4, h, w), see `maps`
        shape : (H, W) of the image
        min_hole_um2 : smaller holes are filled, um2 (see `tiling.raster.holes`)

        Returns
        -------
        ndarray
            int32 (H, W), 0 background, one number per gland.
        """
        gland, sdf, boundary, _ = quantise_maps(maps)
        mpp_um = self.resolution.mpp_um
        labels = split_glands(
            gland,
            sdf,
            boundary,
            mpp_um=mpp_um,
            um2_per_px=mpp_um**2,
            parameters=replace(self._split, min_hole_um2=min_hole_um2),
        )
        return enlarge_labels(labels, self.resolution.reduction(shape), shape)


def _resolution(card: ModelCard, image_mpp_um: float | None) -> Resolution:
    """That of training; for a model of slides, images without a pixel size are not reduced."""
    trained = card.notes.resolution
    image_mpp_um = image_mpp_um or (card.mpp_um if trained is None else trained.image_mpp_um)
    if trained is not None and trained.square_px is not None:
        return Resolution(image_mpp_um, card.mpp_um, trained.square_px)
    return isotropic_resolution(image_mpp_um, card.mpp_um)


def _split_parameters(card: ModelCard, min_area_um2: float | None) -> SplitParameters:
    if min_area_um2 is None:
        min_area_um2 = 0.0 if card.training is None else card.training.min_area_um2
    return card.split.parameters(
        threshold=card.threshold,
        min_area_um2=min_area_um2,
        sdf_um=card.sdf_um,
        use_sdf=card.splits_by_distance,
    )
