"""Cases side by side: what only shows where all of them are known."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lunet_cli.config.preprocessing import PreprocessingConfig
from lunet_cli.engine.data.copies import find_copies
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.splits import Split
from lunet_cli.results.check import CaseFindings, Problem, ProblemKind
from lunet_cli.results.events import Event, WarningIssued
from lunet_cli.results.words import plural

_SAME_SPACING = 0.01
# Air is about -1000 HU, and no MRI has numbers that low.
_AIR_HU = -500.0
# Other anatomy changes the spread of HU by a factor of two; another unit by far more.
_OTHER_UNIT = 10.0
# What almost all cases have, and how many these must be to say so.
_ALMOST_ALL, _ENOUGH_CASES = 0.95, 10
_MOST_ALIKE = 10
_SAME_SIDE = ", on the same side of the split"
_ONE_SIDE = "Keep both on one side of the split: with data.split.group_pattern, or a split file."


@dataclass(frozen=True)
class Expectations:
    """What the configuration makes equal, and how cases are divided.

    Args:
        preprocessing: The section `preprocessing`; None where a plan is still to choose it.
        scheme: The labels; None where nobody has named any.
        split: The two sides; None where they are not known.
    """

    preprocessing: PreprocessingConfig | None
    scheme: LabelScheme | None
    split: Split | None


def compare_cases(found: Sequence[CaseFindings], expected: Expectations) -> list[Problem]:
    """What does not fit together."""
    if not found:
        return []
    return [
        *_channels(found),
        *_spacings(found, expected.preprocessing),
        *_intensities(found, expected.preprocessing),
        *_values(found, expected.scheme),
        *_copies(found, expected.split),
    ]


def warn(problems: Sequence[Problem], on_event: Callable[[Event], None]) -> None:
    """Tell problems that stop no training; of many of one kind, some are told."""
    told: dict[ProblemKind, int] = {}
    for problem in problems:
        told[problem.kind] = told.get(problem.kind, 0) + 1
        if told[problem.kind] <= _MOST_ALIKE:
            on_event(WarningIssued(_in_words(problem)))
    for kind, number in told.items():
        if number > _MOST_ALIKE:
            text = f"{number - _MOST_ALIKE} more about {kind}; `check_data(DATA)` tells all"
            on_event(WarningIssued(text))


def _in_words(problem: Problem) -> str:
    if problem.case and problem.case not in problem.text:
        return f"case {problem.case}: {problem.text}"
    return problem.text


def _channels(found: Sequence[CaseFindings]) -> Iterator[Problem]:
    usual = statistics.mode(case.num_channels for case in found)
    for case in found:
        if case.num_channels != usual:
            yield Problem(
                case=case.case,
                kind="channels",
                is_error=True,
                text=f"case {case.case}: number of image channels {case.num_channels}, of other "
                f"cases {usual}",
                hint="All cases need the same number of channels.",
            )


def _spacings(
    found: Sequence[CaseFindings], preprocessing: PreprocessingConfig | None
) -> Iterator[Problem]:
    if preprocessing is not None and preprocessing.spacing_mm is not None:
        return
    spacings = np.array([case.spacing_mm for case in found])
    median = np.median(spacings, axis=0)
    differs = ~np.isclose(spacings, median, rtol=_SAME_SPACING, atol=0).all(axis=1)
    hint = f"Resample all: `preprocessing.spacing_mm=[{_listed(median)}]`"
    others = int(np.count_nonzero(~differs))
    if 2 * others < len(found):  # There is no usual spacing that single cases leave.
        low, high = (_listed(edge(spacings, axis=0)) for edge in (np.min, np.max))
        text = f"voxels of {low} to {high} mm (z, y, x), and none is resampled"
        yield Problem(case="", kind="spacing", is_error=False, text=text, hint=hint)
        return
    for index in np.flatnonzero(differs).tolist():
        text = f"voxels of {_listed(spacings[index])} mm (z, y, x), of {others} others "
        text += f"{_listed(median)}, and none is resampled"
        yield Problem(case=found[index].case, kind="spacing", is_error=False, text=text, hint=hint)


def _intensities(
    found: Sequence[CaseFindings], preprocessing: PreprocessingConfig | None
) -> Iterator[Problem]:
    is_fixed = preprocessing is None or preprocessing.normalization.name in ("ct_window", "none")
    if not is_fixed:  # Each volume is brought to one range by its own numbers.
        return
    for channel in range(min(case.num_channels for case in found)):
        low = float(np.median([case.lows[channel] for case in found]))
        if preprocessing is not None or low <= _AIR_HU:  # Else a plan takes z-scores.
            yield from _other_units(found, channel, low)


def _other_units(found: Sequence[CaseFindings], channel: int, low: float) -> Iterator[Problem]:
    """Cases whose intensities are of another unit than those of most; `low` is the usual start."""
    spread = float(np.median([case.spreads[channel] for case in found]))
    for case in found:
        mine, begin = case.spreads[channel], case.lows[channel]
        is_alike = mine == 0 or 1 / _OTHER_UNIT < mine / max(spread, 1e-9) < _OTHER_UNIT
        if is_alike and not (low <= _AIR_HU and begin >= 0):
            continue
        yield Problem(
            case=case.case,
            kind="intensities",
            is_error=False,
            text=f"channel {channel}: intensities from {begin:g} on with a standard deviation of "
            f"{mine:.3g}, of other cases from {low:g} on with {spread:.3g}",
            hint="Bring the volume to the unit of the others (CT: HU), or normalise each volume by "
            "itself: `preprocessing.normalization.name=zscore`",
        )


def _values(found: Sequence[CaseFindings], scheme: LabelScheme | None) -> Iterator[Problem]:
    labelled = [case for case in found if case.values]
    present = set(itertools.chain(*(case.values for case in labelled)))
    regions = _regions(scheme, present)
    absent = [name for name, values in regions if not present & set(values)]
    if absent and labelled:
        text = f"{len(absent)} of {plural(len(regions), 'label')} in no case: "
        text += ", ".join(absent[:5]) + ("" if len(absent) <= 5 else ", ...")
        hint = "Leave them out of the section labels; nothing can be learned about them."
        yield Problem(case="", kind="labels", is_error=False, text=text, hint=hint)
    if len(labelled) >= _ENOUGH_CASES:
        for name, values in regions:
            yield from _exceptions(labelled, name, set(values), is_named=scheme is not None)


def _regions(
    scheme: LabelScheme | None, present: Collection[int]
) -> Sequence[tuple[str, tuple[int, ...]]]:
    """The labels; where nobody has named any, each value is one."""
    if scheme is not None:
        return scheme.regions
    return [(str(value), (value,)) for value in sorted(present)]


def _exceptions(
    labelled: Sequence[CaseFindings], name: str, values: set[int], *, is_named: bool
) -> Iterator[Problem]:
    """The cases that lack what almost all others have, or have what almost all others lack."""
    having = [case for case in labelled if values & set(case.values)]
    share = len(having) / len(labelled)
    exceptions: list[CaseFindings] = []
    if _ALMOST_ALL <= share < 1:
        exceptions = [case for case in labelled if case not in having]
        text = f"label {name} is missing, and {plural(len(having), 'other case')} have it"
        hint = "Intended where the anatomy is not there; else correct the label map."
    elif not is_named and 0 < share <= 1 - _ALMOST_ALL:
        exceptions = having
        text = f"label value {name} is in {plural(len(having), 'case')} only"
        hint = "Correct the label map, if it is a slip."
    for case in exceptions:
        yield Problem(case=case.case, kind="labels", is_error=False, text=text, hint=hint)


def _copies(found: Sequence[CaseFindings], split: Split | None) -> Iterator[Problem]:
    planes = {case.case: set(case.planes) for case in found}
    copies = find_copies(planes)
    for one, other in copies:
        smaller, larger = sorted((one, other), key=lambda name: len(planes[name]))
        if planes[one] == planes[other]:
            text = f"the same image as case {one}"
            yield _copy(other, text + _sides(one, other, split))
        else:
            text = f"planes of case {larger}: a part of the same scan"
            yield _copy(smaller, text + _sides(one, other, split))
    first_with: dict[str, str] = {}
    for case in filter(lambda case: case.label_sum, found):
        first = first_with.setdefault(case.label_sum, case.case)
        sides = _sides(first, case.case, split)
        is_harmless = sides == _SAME_SIDE  # As two contrasts of a patient may have it.
        if first != case.case and not is_harmless and not _holds(copies, first, case.case):
            yield _copy(case.case, f"the label map of case {first}, and another image{sides}")


def _holds(pairs: Sequence[tuple[str, str]], one: str, other: str) -> bool:
    return (one, other) in pairs or (other, one) in pairs


def _copy(case: str, text: str) -> Problem:
    return Problem(case=case, kind="copy", is_error=False, text=f"has {text}", hint=_ONE_SIDE)


def _sides(one: str, other: str, split: Split | None) -> str:
    """On which sides of the split two cases stand, for the end of a sentence."""
    if split is None:
        return ""
    train = {case.case_id for case in split.train}
    val = {case.case_id for case in split.val}
    if {one, other} <= train or {one, other} <= val:
        return _SAME_SIDE
    if {one, other} <= train | val:
        return "; one trains and the other validates, so that the Dice is flattered"
    return ""


def _listed(values: npt.NDArray[np.float64]) -> str:
    return ", ".join(f"{value:.4g}" for value in values.tolist())
