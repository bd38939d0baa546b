"""Errors of the package: each message names the problem, its place, and a remedy."""


class SettingsError(ValueError):
    """A setting outside its range, or two settings that exclude each other."""


class DataError(ValueError):
    """Images, masks or tiles that cannot be used."""


class ModelError(ValueError):
    """A model folder that is missing or damaged, or that belongs to another network."""


class TrainingError(ValueError):
    """A training run that cannot start or continue."""


class DeviceError(ValueError):
    """A requested device that is missing, too small or in use."""


class MissingPackageError(ValueError):
    """A package that is not installed, and that only this method needs."""
