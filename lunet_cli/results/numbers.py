"""Numbers that may be undefined."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BeforeValidator, Field


def _nan_for_null(value: Any) -> Any:
    if value is None:
        return math.nan
    return value


# Before the check of the type, which is strict and takes no null.
Undefinable = Annotated[float, Field(allow_inf_nan=True), BeforeValidator(_nan_for_null)]
"""A number that is NaN where it is undefined, and null in our files: JSON does not know NaN."""
