"""Volumes without label maps, which a network learns on from its teacher alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from lunet_cli.engine.data.cases import Case, CaseSet, read_unlabelled
from lunet_cli.engine.inference.inputs import find_inputs
from lunet_cli.errors import DataError
from lunet_cli.results.events import CaseFailed, Event, Notice
from lunet_cli.results.words import plural


def find_unlabelled(
    folder: Path,
    labelled: Sequence[Case],
    *,
    num_channels: int,
    on_event: Callable[[Event], None],
) -> CaseSet:
    """The volumes of a folder that do not belong to a case of the data set.

    Args:
        folder: Files, DICOM series, folders of those, or a data set of BIDS.
        labelled: The cases that train and validate.
        num_channels: Image channels of each case.
        on_event: Called with what is left out.

    Raises:
        DataError: Something in the folder cannot be used, or nothing is left.
    """
    names = {case.case_id for case in labelled}
    files = {path.resolve() for case in labelled for path in case.images}
    cases: list[Case] = []
    found = _usable(folder, num_channels, on_event)
    for case in found:
        if not files.intersection(path.resolve() for path in case.images):
            name = case.case_id if case.case_id not in names else f"{folder.name}/{case.case_id}"
            cases.append(replace(case, case_id=name))
    if not cases:
        raise DataError(
            f"{folder}: holds no volume that is not a labelled case already",
            hint="Name a folder of other volumes, or leave distillation.unlabelled_dir out.",
        )
    num_known = len(found) - len(cases)
    if num_known:
        left_out = plural(num_known, "volume")
        on_event(Notice(f"{folder}: {left_out} left out, which train or validate with labels"))
    return CaseSet(
        cases=tuple(cases), reader=read_unlabelled, labels=None, layout="unlabelled", root=folder
    )


def _usable(folder: Path, num_channels: int, on_event: Callable[[Event], None]) -> list[Case]:
    """All volumes of a folder.

    Raises:
        DataError: Something in it cannot be used.
    """

    def tell(event: Event) -> None:
        # Told as errors, all at once.
        if not isinstance(event, CaseFailed):
            on_event(event)

    found, failures = find_inputs([folder], num_channels=num_channels, on_event=tell)
    if failures:
        raise DataError(
            [failure.message for failure in failures],
            hint=" ".join(dict.fromkeys(failure.hint for failure in failures)),
        )
    # A DICOM series is found again by the folder that it lies in.
    return [Case(one.name, tuple(Path(str(source)) for source in one.images)) for one in found]
