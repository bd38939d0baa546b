"""What a training run depends on: data, settings, and where and how it runs."""

from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from semimoe.methods import METHODS, Method
from semimoe.model_errors import TrainingError
from semimoe.settings import Device, NetworkSettings, TrainingSettings
from tiling.raster.tile import Tile

Role = Literal["labelled", "unlabelled"]


class TileSource(Protocol):
    """A map-style, picklable set of tiles, each read larger than a training tile."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Tile: ...


class TrainingData(NamedTuple):
    """Tiles of a run.

    Attributes
    ----------
    labelled : tiles with labels; only pixels of weight 1 count
    unlabelled : tiles without; labels that they have are compared in the log, and never trained on.
        Methods without unlabelled tiles do not read them, but their number counts for the steps of
        an epoch, so that all rows of a table have the same steps
    validation : images with labels, of any size. None: last epoch, threshold 0.5
    """

    labelled: TileSource
    unlabelled: TileSource | None = None
    validation: TileSource | None = None


class Recipe(NamedTuple):
    """Method and settings of a run.

    Attributes
    ----------
    method_name : see `semimoe.methods`
    mpp_um : um per pixel of all tiles
    """

    method_name: str
    network: NetworkSettings
    training: TrainingSettings
    mpp_um: float
    seed: int

    @property
    def method(self) -> Method:
        """Entry of the table of methods.

        Raises
        ------
        TrainingError
            There is none of this name.
        """
        if self.method_name not in METHODS:
            names = ", ".join(METHODS)
            raise TrainingError(f"method {self.method_name!r}; one of {names} is needed")
        return METHODS[self.method_name]


class RunResources(NamedTuple):
    """Hardware of a run.

    Attributes
    ----------
    threads : of the CPU
    devices : processes that share every batch, one GPU each; the other ones run this program's
        command line again
    progress : show a progress bar
    """

    device: Device
    threads: int
    devices: int = 1
    progress: bool = True


class RunFolders(NamedTuple):
    """Folders of a run.

    Attributes
    ----------
    out : model folder; only the files of a model are replaced
    checkpoint : where the state after the last epoch is kept until the run ends
    start_from : a finished model to fine-tune: all epochs, a tenth of the learning rate
    warm_start : a run of the same settings with the method that this one continues
    """

    out: Path
    checkpoint: Path
    start_from: Path | None = None
    warm_start: Path | None = None
