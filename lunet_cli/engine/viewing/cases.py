"""Labelled cases to look at, beside what a network makes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813

from lunet_cli.config.names import closest
from lunet_cli.config.vocabulary import SplitName
from lunet_cli.engine.data.volume import along_patient
from lunet_cli.engine.evaluation import overlap
from lunet_cli.engine.evaluation.measurement import has_value, masks_of_label
from lunet_cli.engine.inference.labelled_cases import (
    recorded_split,
    scheme_of,
    segment_case,
    select_cases,
)
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.errors import ConfigError, DataError
from lunet_cli.results.events import Event
from lunet_cli.results.views import LabeledVolume, paint_masks

# Names that a hint lists: what fits two lines.
_MOST_NAMES = 8


class CaseViews:
    """The cases of a split; each is read and segmented when it is asked for.

    Args:
        predictor: The networks.
        data: A labelled data set; None takes that of the training.
        split: Which cases; None takes `val` of the data of the training, and `all` of other data.

    Raises:
        CheckpointError: The checkpoint does not say what it was trained on, and no data set is
            named.
        DataError: The cases are not there.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        data: Path | None = None,
        split: SplitName | None = None,
    ) -> None:
        model = predictor.models[0]
        chosen: SplitName = split or ("val" if data is None else "all")
        self._predictor = predictor
        selected = select_cases(model, data, chosen)
        self._scheme = scheme_of(model, None).ignoring(selected.case_set.ignored)
        self._case_set, self.origin = selected.case_set, selected.origin
        self._cases = {case.case_id: case for case in selected.cases}
        if not self._cases:
            raise DataError(f"there are no {self.origin}")

    @property
    def names(self) -> tuple[str, ...]:
        """The cases, in a stable order."""
        return tuple(self._cases)

    def require(self, name: str) -> None:
        """Raise if there is no such case.

        Raises:
            ConfigError: With those of similar names.
        """
        if name in self._cases:
            return
        message = f"`cases={name}`: is none of the {self.origin}"
        for side, names in recorded_split(self._predictor.models[0]).items():
            if name in names:
                raise ConfigError(message, hint=f"It is there with `split={side}`")
        listed = ", ".join(self.names[:_MOST_NAMES])
        more = len(self._cases) - _MOST_NAMES
        if more > 0:
            listed += f" and {more} more"
        raise ConfigError(
            f"{message}. {closest(name, self.names)}",
            hint=f"There are {listed}. Other cases: `split=all`, or `data=FOLDER`.",
        )

    def load(
        self, name: str, on_event: Callable[[Event], None] = lambda event: None
    ) -> LabeledVolume:
        """A case with its reference and its prediction; the first channel is shown.

        Args:
            name: The case.
            on_event: Called while it is segmented.

        Raises:
            ConfigError: There is no such case.
            DataError: It cannot be used.
        """
        self.require(name)
        found = segment_case(
            self._predictor, self._scheme, self._case_set, self._cases[name], on_event=on_event
        )
        values, segmentation = sitk.GetArrayFromImage(found.label), found.segmentation

        def reference(index: int) -> npt.NDArray[np.bool_]:
            return has_value(values, self._scheme.regions[index][1])

        # Masks are made again for each use: those of many labels at once would fill the memory.
        dice = {}
        for index, (label, of_label) in enumerate(self._scheme.regions):
            mask = segmentation.mask(index)
            pair = masks_of_label(mask, values, of_label, self._scheme.ignored)
            dice[label] = overlap.dice(*pair)
        labels = range(len(self._scheme.names))
        placement = along_patient(segmentation.geometry)
        return LabeledVolume(
            name,
            placement.orient(sitk.GetArrayFromImage(found.channels[0])),
            placement.oriented_spacing_mm,
            tuple(self._scheme.names),
            placement.orient(paint_masks(map(reference, labels), values.shape)),
            placement.orient(paint_masks(map(segmentation.mask, labels), values.shape)),
            dice,
        )
