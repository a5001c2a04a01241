"""`lunet_predict.json` in a folder of label maps: which networks and settings made them."""

from __future__ import annotations

from typing import ClassVar, Literal

from lunet_cli.records.record import Record

PREDICTION = "lunet_predict.json"


class PredictionRecord(Record):
    """What decides on label maps.

    Args:
        networks: The SHA-256 of each network's file.
        models: Names and versions of those that were found by their names.
        window: Voxels (D, H, W) of a window, `whole`, `stream`, or None for that of the training.
        overlap: Share of a window that neighbours have in common.
        tta: Whether mirrorings were averaged.
        precision: The arithmetic, as it was asked for.
        runtime: The runtime, as it was asked for.
        postprocess: The cleaning steps in words.
        order: The order in which labels were painted; None for that of the configuration.
    """

    what: ClassVar[str] = "the record of a prediction"
    written_by: ClassVar[str] = "Remove it, or write elsewhere: `output=FOLDER`"
    is_always_marked: ClassVar[bool] = True

    format: str = "lunet prediction 1"
    networks: tuple[str, ...]
    models: tuple[str, ...] = ()
    window: tuple[int, int, int] | Literal["whole", "stream"] | None
    overlap: float
    tta: bool
    precision: str
    runtime: str | None
    postprocess: tuple[str, ...]
    order: tuple[str, ...] | None

    def differences(self, other: PredictionRecord) -> list[str]:
        """The names of what differs; the same network may be found by its name and by its path."""
        ours, theirs = dict(self.model_copy(update={"models": other.models})), dict(other)
        return [name for name, value in ours.items() if value != theirs[name]]
