"""Types of settings: numbers and switches that are not taken for each other, and their groups."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, WrapValidator

from semimoe.setting_values import keep_integer, refuse_bool, refuse_number

Number = Annotated[float, WrapValidator(keep_integer)]
# Stands after the bounds where there are several annotations: the JSON schema then has them.
NO_BOOL = BeforeValidator(refuse_bool)
Integer = Annotated[int, NO_BOOL]
Switch = Annotated[bool, BeforeValidator(refuse_number)]
FlipsChoice = Literal["auto"] | bool
# Values of the option --flips.
FLIPS_CHOICES: dict[str, FlipsChoice] = {"auto": "auto", "on": True, "off": False}


class StrictModel(BaseModel):
    """A frozen group of named values; unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return self.model_dump()

    def with_all_values(self) -> Self:
        """Copy in which the defaults count as set, so that a card records them."""
        return self.model_copy(update=dict(self))
