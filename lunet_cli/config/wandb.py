"""The `wandb` section: an optional mirror of the history at Weights & Biases."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lunet_cli.config.base import Section


class WandbConfig(Section):
    """Weights & Biases; off unless enabled, and never able to stop a run."""

    enabled: bool = False
    """Whether the history is copied there (needs the extra `wandb`)."""

    project: Annotated[str, Field(min_length=1, max_length=128)] = "lunet"
    """Name of the project there."""

    mode: Literal["online", "offline", "disabled"] = "online"
    """`online` sends while training runs, `offline` writes below the run folder only, `disabled`
    does neither."""
