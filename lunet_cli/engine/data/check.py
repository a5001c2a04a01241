"""The job `check_data`: all that is wrong with a data set, without a training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lunet_cli.config.data import DataConfig
from lunet_cli.config.preprocessing import PreprocessingConfig
from lunet_cli.config.run import RunConfig
from lunet_cli.engine.data.cases import Case, CaseSet, read_case_files
from lunet_cli.engine.data.comparing import Expectations, compare_cases
from lunet_cli.engine.data.disk import list_folder, require_present
from lunet_cli.engine.data.findings import Examined, examine
from lunet_cli.engine.data.labels import labels_for
from lunet_cli.engine.data.mistakes import Mistakes
from lunet_cli.engine.data.splits import SPLIT_FILES, load_cases
from lunet_cli.engine.data.survey import survey
from lunet_cli.engine.data.volume import has_volume_suffix, stem
from lunet_cli.errors import LunetError
from lunet_cli.records.check import DataCheck
from lunet_cli.results.check import CaseFindings, Problem, problems_of
from lunet_cli.results.events import CaseRead, Event


def _ignore(_: Event) -> None:
    """Do nothing with an event."""


def check_data(
    source: RunConfig | Path | str,
    *,
    label: Path | str | None = None,
    on_event: Callable[[Event], None] = _ignore,
) -> DataCheck:
    """Read every case and say what is wrong with it, and what does not fit together.

    Args:
        source: A configuration, whose labels, split and preprocessing count too; or a data set; or,
            with `label`, one image.
        label: The label map of a single image.
        on_event: Called with each case that has been read.

    Raises:
        DataError: There is no data set.
        ConfigError: The configuration does not fit its labels.

    Example:
        >>> found = lunet.check_data("images")  # doctest: +SKIP
        >>> [problem.text for problem in found.problems]  # doctest: +SKIP
        ['has planes of case b: a part of the same scan']
    """
    if label is not None:
        subject = _single(Path(str(source)), Path(label))
    elif isinstance(source, RunConfig):
        subject = _of_config(source)
    else:
        subject = _of_folder(Path(source))
    problems = [*subject.problems, *_strays(subject)]
    found: list[CaseFindings] = []
    for number, case in enumerate(_look_at(subject), start=1):
        if isinstance(case, CaseFindings):
            found.append(case)
            problems += case.problems
        else:
            problems += case
        on_event(CaseRead(number, len(subject.case_set.cases)))
    problems += compare_cases(found, subject.expected)
    return DataCheck(
        place=subject.place,
        layout=subject.case_set.layout,
        num_cases=len(subject.case_set.cases),
        problems=tuple(sorted(problems, key=lambda problem: not problem.is_error)),
    )


@dataclass(frozen=True)
class _Subject:
    """What is checked: cases, what they should be like, and what was wrong with finding them.

    In `unlabelled_dir`, volumes may belong to no case.
    """

    place: str
    case_set: CaseSet
    expected: Expectations
    problems: list[Problem]
    unlabelled_dir: Path | None = None


def _single(image: Path, label: Path) -> _Subject:
    for path in (image, label):
        require_present(path)
    case = Case(stem(image), (image,), label)
    case_set = CaseSet(
        cases=(case,), reader=read_case_files, labels=None, layout="one pair", root=None
    )
    return _Subject(str(image.parent), case_set, Expectations(None, None, None), [])


def _of_folder(folder: Path) -> _Subject:
    subject = _subject(str(folder), DataConfig(root=folder), 0, None)
    is_divided = any((folder / name).is_file() for name in SPLIT_FILES)
    scheme = None
    if subject.case_set.labels is not None:
        scheme = labels_for(RunConfig(), subject.case_set)
    split = subject.expected.split if is_divided else None  # Any other could be taken.
    expected = Expectations(None, scheme, split)
    return _Subject(subject.place, subject.case_set, expected, subject.problems)


def _of_config(config: RunConfig) -> _Subject:
    data = config.data
    place = "the built-in volumes"
    if not data.uses_phantom:
        place = " and ".join(
            str(path) for path in (data.root, data.train_dir, data.val_dir) if path
        )
    subject = _subject(place, data, config.experiment.seed, config.preprocessing)
    scheme = labels_for(config, subject.case_set)
    expected = Expectations(config.preprocessing, scheme, subject.expected.split)
    unlabelled_dir = config.distillation.unlabelled_dir
    return _Subject(place, subject.case_set, expected, subject.problems, unlabelled_dir)


def _subject(
    place: str, data: DataConfig, seed: int, preprocessing: PreprocessingConfig | None
) -> _Subject:
    mistakes = Mistakes()
    case_set, split = load_cases(data, seed=seed, mistakes=mistakes)
    problems: list[Problem] = []
    for error in mistakes.found:
        problems += problems_of(error, "layout")
    for remark in case_set.remarks:
        problems.append(Problem(case="", kind="layout", is_error=False, text=remark))
    return _Subject(place, case_set, Expectations(preprocessing, None, split), problems)


def _look_at(subject: _Subject) -> Iterator[CaseFindings | list[Problem]]:
    case_set, scheme = subject.case_set, subject.expected.scheme

    def look(case: Case) -> CaseFindings | list[Problem]:
        seen = examine(case, case_set, scheme)
        return seen.findings if isinstance(seen, Examined) else seen

    for case, found in zip(case_set.cases, survey(case_set.cases, look), strict=True):
        if isinstance(found, LunetError):
            yield problems_of(found, "file", case.case_id)
        else:
            yield found


def _strays(subject: _Subject) -> Iterator[Problem]:
    """Volumes beside those of cases that belong to no case."""
    case_set = subject.case_set
    # A folder of BIDS holds all contrasts of a subject, used or not.
    if case_set.root is None or case_set.layout == "bids":
        return
    used = _files_of(case_set.cases)
    told = " ".join(problem.text for problem in subject.problems)  # As of a label without image.
    folders = {path.parent for path in used}
    if subject.unlabelled_dir is not None:
        folders -= {path for path in folders if path.resolve() == subject.unlabelled_dir.resolve()}
    for folder in sorted(folders):
        for path in list_folder(folder):
            if has_volume_suffix(path) and path not in used and stem(path) not in told:
                text = f"{path}: belongs to no case, and is not used"
                hint = "Name it like the image or label map that it belongs to, or move it away."
                yield Problem(case="", kind="layout", is_error=False, text=text, hint=hint)


def _files_of(cases: Iterable[Case]) -> set[Path]:
    found: set[Path] = set()
    for case in cases:
        found.update(case.images)
        if case.label is not None:
            found.add(case.label)
    return found
