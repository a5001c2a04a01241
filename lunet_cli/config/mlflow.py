"""The `mlflow` section: an optional mirror of the history at an MLflow tracking server."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from lunet_cli.config.base import Section


class MlflowConfig(Section):
    """MLflow; off unless enabled, and never able to stop a run."""

    enabled: bool = False
    """Whether the history is copied there (needs the extra `mlflow`)."""

    tracking_uri: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    """Where it is sent, such as `http://mlflow.example.org:5000`. null takes the environment
    variable MLFLOW_TRACKING_URI, or else what MLflow takes by itself."""

    experiment: Annotated[str, Field(min_length=1, max_length=128)] = "lunet"
    """Name of the experiment there; it is made if there is none."""

    @field_validator("tracking_uri")
    @classmethod
    def _without_password(cls, uri: str | None) -> str | None:
        # A configuration is copied into the run folder and into every checkpoint.
        if uri is not None and "@" in urlsplit(uri).netloc:
            raise ValueError(
                "holds a user name or password, which every checkpoint would hold then; leave the "
                "key out, and set the environment variable MLFLOW_TRACKING_URI"
            )
        return uri
