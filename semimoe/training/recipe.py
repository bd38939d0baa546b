"""Arguments of a training run: data, settings, folders and hardware."""

from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from semimoe.methods import METHODS
from semimoe.methods.method import Method
from semimoe.model_errors import TrainingError
from semimoe.settings import Device, NetworkSettings, TrainingSettings
from tiling.raster.tile import Tile

Role = Literal["labelled", "unlabelled"]


class TileSource(Protocol):
    """Tiles by index. A tile may be larger than a training tile."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Tile: ...


class TrainingData(NamedTuple):
    """Tiles of a run.

    Attributes
    ----------
    labelled : tiles with labels; only pixels of weight 1 count
    unlabelled : other tiles. If they have labels, the log compares pseudo-labels with them; nothing
        is trained on them. Methods that do not use unlabelled tiles do not read them, but the
        number of steps per epoch depends on their number, so that all methods of a table have the
        same number of steps
    validation : images with labels, of any size; None: the model is that of the last epoch, with
        threshold 0.5
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
            The table has no method of this name.
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
    devices : number of processes that share every batch, one GPU each; each further process runs
        the same command line
    progress : show a progress bar
    checkpoint_interval_s : least time between two checkpoints; 0: one after every epoch
    """

    device: Device
    threads: int
    devices: int = 1
    progress: bool = True
    checkpoint_interval_s: float = 30.0


class RunFolders(NamedTuple):
    """Folders of a run.

    Attributes
    ----------
    out : model folder; only the files of a model are replaced
    checkpoint : holds the state after a complete epoch until the run ends
    start_from : model that is fine-tuned: all epochs, with a tenth of the learning rate
    warm_start : model folder of the method that this one continues, with the same settings
    """

    out: Path
    checkpoint: Path
    start_from: Path | None = None
    warm_start: Path | None = None
