"""The folder that a command writes a model to."""

from pathlib import Path

from semimoe.model_card import CARD, HISTORY, WEIGHTS
from semimoe.model_errors import SettingsError


def check_model_folder(folder: Path, *, checkpoint: Path | None = None) -> None:
    """Refuse a folder with files that a model would replace.

    Parameters
    ----------
    checkpoint : of an unfinished training; if it exists, weights and history without a card are
        of that training, and may be replaced

    Raises
    ------
    SettingsError
        The folder holds such a file.
    """
    names = [CARD, WEIGHTS, HISTORY]
    if checkpoint is not None and checkpoint.exists():
        names = [CARD]
    for name in names:
        if (folder / name).exists():
            raise SettingsError(
                f"--out {folder}: holds {name}, which would be replaced; give another folder, or"
                " delete the file"
            )
