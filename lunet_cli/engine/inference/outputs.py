"""Where the files of a prediction go, what they are called, and which of them are there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lunet_cli.config.options import OutputOptions
from lunet_cli.config.vocabulary import SEG_SUFFIX, OutputSuffix
from lunet_cli.engine.data.soft_maps import map_endings
from lunet_cli.engine.inference.inputs import InputCase, output_suffix
from lunet_cli.errors import OutputError

# Names that people give to files in the hope that they can be written; a folder has none of them.
_UNWRITABLE = frozenset(
    [".hdr", ".img", ".nhdr", ".mhd", ".png", ".jpg", ".tif", ".tiff", ".npy", ".npz"]
)
_ELSEWHERE = "Write elsewhere: `output=FOLDER`"


@dataclass(frozen=True)
class Sidecar:
    """A text beside a label map.

    Args:
        path: Its file.
        text: What stands in it.
    """

    path: Path
    text: str


@dataclass(frozen=True)
class CaseOutput:
    """The files of one case.

    Args:
        label_map: The label map.
        maps: A probability map per label; empty where none are asked for.
        sidecar: What says more about the label map; None where nothing does.
    """

    label_map: Path
    maps: tuple[Path, ...]
    sidecar: Sidecar | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return self.label_map, *self.maps

    @property
    def is_done(self) -> bool:
        """Whether all of them are there."""
        return all(path.exists() for path in self.files)


def find_outputs(
    cases: Sequence[InputCase], options: OutputOptions, labels: Sequence[str], *, num_inputs: int
) -> list[CaseOutput]:
    """The files of each case.

    Args:
        cases: All cases of a command.
        options: Where they go.
        labels: Names of the labels.
        num_inputs: Files and folders that the user has named.

    Raises:
        OutputError: A single file is meant to take several cases, has an unknown format, or is an
            input too.
    """
    targets = _label_maps(cases, options, num_inputs=num_inputs)
    _require_apart(targets, cases)
    endings: list[str] = []
    if options.probabilities:
        endings = map_endings(labels)
    outputs: list[CaseOutput] = []
    for target in targets:
        maps = [_with_ending(target, ending) for ending in endings]
        outputs.append(CaseOutput(target, tuple(maps)))
    return outputs


def _require_apart(targets: Sequence[Path], cases: Sequence[InputCase]) -> None:
    # Compared as resolved paths: two names may mean one file.
    sources = {Path(str(source)).resolve() for case in cases for source in case.images}
    for target in targets:
        if target.resolve() in sources:
            raise OutputError(f"{target}: is an input and would be the output too", hint=_ELSEWHERE)


def require_absent(outputs: Sequence[CaseOutput]) -> None:
    """Raise if a file is there already.

    Raises:
        OutputError: With the two ways on.
    """
    present: list[Path] = []
    for output in outputs:
        present += filter(Path.exists, output.files)
    if not present:
        return
    more = ""
    if len(present) > 1:
        more = f" ({len(present) - 1} more are, too)"
    raise OutputError(
        f"{present[0]}: is there already{more} and is not overwritten",
        hint="Go on with what is missing: `resume=True`. Or write elsewhere: `output=FOLDER`",
    )


def require_whole(outputs: Sequence[CaseOutput]) -> None:
    """Raise if a case has a label map and lacks a probability map.

    Doing it again would replace the label map.

    Raises:
        OutputError: It has.
    """
    for output in outputs:
        if output.label_map.exists() and not output.is_done:
            raise OutputError(
                f"{output.label_map}: is there without its probability maps, and is not "
                "overwritten",
                hint="Remove it, or write elsewhere: `output=FOLDER`",
            )


def require_writable(outputs: Sequence[CaseOutput]) -> None:
    """Make the folders, before anything is computed for them.

    Raises:
        OutputError: One cannot be made or written.
    """
    for folder in sorted({output.label_map.parent for output in outputs}):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be made ({error.strerror or error})") from None
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OutputError(f"{folder}: is not writable for you", hint=_ELSEWHERE)


def _label_maps(
    cases: Sequence[InputCase], options: OutputOptions, *, num_inputs: int
) -> list[Path]:
    if not cases:
        return []
    if names_a_file(options.output):
        return [_only_file(len(cases), options, num_inputs)]
    path = options.output
    if path.is_file() or path.suffix.lower() in _UNWRITABLE:
        raise OutputError(
            f"{path}: is not a format that can be written",
            hint="Use .nii.gz, .nii, .nrrd, .mha or .dcm.",
        )
    return [path / f"{case.name}{options.suffix or case.suffix}" for case in cases]


def suffix_of(path: Path) -> OutputSuffix | None:
    """The suffix of a file name that a prediction can have; None if it has none of those."""
    if path.name.lower().endswith(SEG_SUFFIX):
        return SEG_SUFFIX
    return output_suffix(path)


def names_a_file(path: Path) -> bool:
    """Whether outputs go to one file, and not into a folder."""
    return suffix_of(path) is not None and not path.is_dir()


def _only_file(num_cases: int, options: OutputOptions, num_inputs: int) -> Path:
    path, suffix = options.output, suffix_of(options.output)
    if options.suffix not in (None, suffix):
        raise OutputError(
            f"{path}: is the name of a {suffix} file, and `suffix` asks for {options.suffix}",
            hint="Leave one of them out.",
        )
    if num_cases > 1 or num_inputs > 1:
        raise OutputError(
            f"{path}: is the name of one file, and there are {max(num_inputs, num_cases)} cases",
            hint="Give a folder: `output=FOLDER`",
        )
    return path


def _with_ending(target: Path, ending: str) -> Path:
    suffix = suffix_of(target) or ""
    return target.with_name(f"{target.name.removesuffix(suffix)}{ending}{suffix}")
