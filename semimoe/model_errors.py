"""Errors of the model side: each message says what is wrong, where, and what to do."""


class SettingsError(ValueError):
    """A setting outside its range, or two that exclude each other."""


class DataError(ValueError):
    """Images, masks or tiles that cannot be used as they are."""


class ModelError(ValueError):
    """A model folder that is missing, damaged or of another network."""


class TrainingError(ValueError):
    """A training run that cannot start or go on."""


class DeviceError(ValueError):
    """A device that was asked for and is not there."""
