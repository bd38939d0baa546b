"""Attributes of stores: reading, checking and writing them, and the store of a failed slide.

The attributes are JSON under `gland_pipeline` in the store's `zarr.json`: `status` ("ok" or
"failed"), then the fields of the class of this kind of store (see `tiling.stores.layout`).
A slide that cannot be used has a `FailedStore`: no arrays, only the error. Training leaves such a
slide out and names it; prediction raises the recorded error.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import zarr
from numpy.typing import NDArray

from tiling.raster.geometry import Geometry
from tiling.slide_errors import FailedSlideError, StoreError
from tiling.stores.arrays import ATTRIBUTES_KEY, create_group, create_table, open_store
from tiling.stores.atomic_store import write_store

_Kind = TypeVar("_Kind")


@dataclass(frozen=True, kw_only=True)
class StoreAttributes:
    """Base of the classes of `tiling.stores.layout`.

    Attributes
    ----------
    ARRAYS : dtype of each array, as text
    TABLE : name of the store's table
    COLUMNS : dtype of each column of the table, first axis = rows
    """

    STATUS: ClassVar[str] = "ok"
    ARRAYS: ClassVar[Mapping[str, str]] = {}
    TABLE: ClassVar[str] = ""
    COLUMNS: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def read(cls, path: Path) -> Self:
        """Attributes of a finished store of this kind.

        Raises
        ------
        FailedSlideError
            The slide failed: the recorded error.
        StoreError
            The store is missing or of other software, or an attribute is missing or has a
            wrong type.
        """
        return _validated(cls, path, _json_of_used_slide(path))

    def write(self, group: zarr.Group) -> None:
        """Set the attributes of a store that is being written."""
        set_attributes(group, {"status": self.STATUS, **asdict(self)})

    @classmethod
    def write_table(cls, group: zarr.Group, columns: dict[str, NDArray[Any]]) -> None:
        """Write the store's table.

        Raises
        ------
        ValueError
            The columns are not those of this kind of store.
        """
        dtypes = {name: values.dtype.name for name, values in columns.items()}
        if dtypes != dict(cls.COLUMNS):
            raise ValueError(f"{cls.__name__}: columns {dtypes} must be {dict(cls.COLUMNS)}")
        create_table(group, cls.TABLE, columns)


@dataclass(frozen=True, kw_only=True)
class FailedStore(StoreAttributes):
    """A store of any kind whose slide cannot be used.

    Attributes
    ----------
    error : what is wrong, where, and what to do
    parameters : of the stage that failed, as JSON
    """

    STATUS: ClassVar[str] = "failed"

    error: str
    parameters: dict[str, Any]


def geometry_of(path: Path) -> Geometry:
    """Geometry of a finished store of any kind.

    Raises
    ------
    FailedSlideError
        The slide failed: the recorded error.
    StoreError
        The store is missing or of other software, or its geometry is missing or damaged.
    """
    return _validated(Geometry, path, _json_of_used_slide(path).get("geometry"))


def recorded_error(path: Path) -> str | None:
    """The error in the store of a failed slide; None when the slide did not fail."""
    values = stored_json(path)
    return str(values["error"]) if values["status"] == FailedStore.STATUS else None


def record_failure(path: Path, error: Exception, parameters: dict[str, Any]) -> None:
    """Write a `FailedStore`: later stages leave the slide out by name."""
    text = str(error)
    with write_store(path, {**parameters, "failed": text}, resume=False) as unfinished:
        group = create_group(unfinished.folder)
        FailedStore(error=text, parameters=parameters).write(group)


def stored_json(path: Path) -> dict[str, Any]:
    """Attributes of a finished store as they are on the disk; those of a failed slide have `error`.

    Raises
    ------
    StoreError
        The store is missing, damaged or of other software.
    """
    values = open_store(path).attrs[ATTRIBUTES_KEY]
    if not isinstance(values, dict) or not (
        values.get("status") == StoreAttributes.STATUS
        or (values.get("status") == FailedStore.STATUS and "error" in values)
    ):
        raise StoreError(
            f"{path}: the attributes are not those of this pipeline; remove the store and run again"
        )
    return values


def _validated(kind: type[_Kind], path: Path, values: object) -> _Kind:
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or kind.__name__.lower()
        raise StoreError(
            f"{path}: attribute {name}: {first['msg']}; remove the store and run again"
        ) from error


def set_attributes(group: zarr.Group, values: dict[str, Any]) -> None:
    """Merge values into the attributes of a store that is being written."""
    before: Any = group.attrs.get(ATTRIBUTES_KEY, {})
    group.attrs[ATTRIBUTES_KEY] = {**before, **values}


def _json_of_used_slide(path: Path) -> dict[str, Any]:
    values = stored_json(path)
    if values["status"] == FailedStore.STATUS:
        raise FailedSlideError(str(values["error"]))
    return values
