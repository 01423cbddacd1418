"""The base of every record that crosses between service and trainer."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A frozen record that refuses keys it does not know and numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
