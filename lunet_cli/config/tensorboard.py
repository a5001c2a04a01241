"""The `tensorboard` section: the history as event files that TensorBoard shows."""

from __future__ import annotations

from lunet_cli.config.base import Section


class TensorBoardConfig(Section):
    """TensorBoard; off unless enabled, and never able to stop a run."""

    enabled: bool = False
    """Whether the run folder gets an event file for `tensorboard --logdir` (needs the extra
    `tensorboard`)."""
