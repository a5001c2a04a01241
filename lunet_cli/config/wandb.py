"""The `wandb` section: an optional mirror of the history at Weights & Biases."""

from __future__ import annotations

from typing import Literal

from lunet_cli.config.base import Section


class WandbConfig(Section):
    """Weights & Biases; off unless enabled, and never able to stop a run."""

    enabled: bool = False
    """Whether the history is mirrored (needs the extra `wandb`)."""

    project: str = "lunet"
    """Project name there."""

    mode: Literal["online", "offline", "disabled"] = "online"
    """`offline` writes below the run folder only."""
