"""Base class of the records that the commands print or save as JSON."""

from typing import Any

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


class JsonModel(BaseModel):
    """An immutable record with typed fields.

    A field whose default is None is not written if it is None. A field without a default is
    always written, with None as null.
    """

    model_config = ConfigDict(frozen=True)

    def to_json_dict(self) -> dict[str, Any]:
        """The fields in the order of the class, as plain values for JSON."""
        return self.model_dump(by_alias=True)

    @model_serializer(mode="wrap")
    def _without_missing_fields(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        for name, field in type(self).model_fields.items():
            if field.default is None and getattr(self, name) is None:
                del values[name]
        return values
