"""Where the files of a prediction go, what they are called, and which of them are there."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lunet_cli.engine.inference.inputs import InputCase, output_suffix
from lunet_cli.engine.inference.postprocessing import Step
from lunet_cli.errors import OutputError

_UNWRITABLE = (
    ".hdr",
    ".img",
    ".nhdr",
    ".mhd",
    ".dcm",
    ".png",
    ".jpg",
    ".tif",
    ".tiff",
    ".npy",
    ".npz",
)


@dataclass(frozen=True)
class OutputOptions:
    """What is written, and where.

    Args:
        path: A folder, or for a single case the name of the file.
        suffix: Format such as `.nii.gz`; None takes that of each input.
        probabilities: Whether a map per label is written too, as NAME_prob_LABEL.
        steps: How segmentations are cleaned.
        order: Order in which regions that overlap are painted; None takes that of the
            configuration.
        resume: Whether label maps that are there are skipped; otherwise they are in the way.
        shard: Which share of the cases is done, counted from 0, and how many shares there are.
        series: Which DICOM series is taken where a folder has several.
    """

    path: Path
    suffix: str | None = None
    probabilities: bool = False
    steps: tuple[Step, ...] = ()
    order: tuple[str, ...] | None = None
    resume: bool = False
    shard: tuple[int, int] = (0, 1)
    series: str | None = None


@dataclass(frozen=True)
class CaseOutput:
    """The files of one case.

    Args:
        label_map: The label map.
        maps: A probability map per label; empty where none are asked for.
    """

    label_map: Path
    maps: tuple[Path, ...]

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
    sources = {Path(str(source)).resolve() for case in cases for source in case.images}
    for target in targets:
        if target.resolve() in sources:
            raise OutputError(
                f"{target}: is an input and would be the output too",
                hint="Write elsewhere: -o FOLDER",
            )
    endings = _map_endings(labels) if options.probabilities else []
    return [
        CaseOutput(target, tuple(_with_ending(target, ending) for ending in endings))
        for target in targets
    ]


def require_absent(outputs: Sequence[CaseOutput]) -> None:
    """Raise if a file is there already.

    Raises:
        OutputError: With the two ways on.
    """
    present = [path for output in outputs for path in output.files if path.exists()]
    if present:
        more = f" ({len(present) - 1} more are, too)" if len(present) > 1 else ""
        raise OutputError(
            f"{present[0]}: is there already{more} and is not overwritten",
            hint="Go on with what is missing: --resume. Or write elsewhere: -o FOLDER",
        )


def require_whole(outputs: Sequence[CaseOutput]) -> None:
    """Raise if a case has a label map and lacks a probability map: doing it again would replace the label map.

    Raises:
        OutputError: It has.
    """
    for output in outputs:
        if output.label_map.exists() and not output.is_done:
            raise OutputError(
                f"{output.label_map}: is there without its probability maps, and is not overwritten",
                hint="Remove it, or write elsewhere: -o FOLDER",
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
            raise OutputError(
                f"{folder}: is not writable for you", hint="Write elsewhere: -o FOLDER"
            )


def _label_maps(
    cases: Sequence[InputCase], options: OutputOptions, *, num_inputs: int
) -> list[Path]:
    path, suffix = options.path, output_suffix(options.path)
    if not cases:
        return []
    if suffix is not None and not path.is_dir():
        if options.suffix not in (None, suffix):
            raise OutputError(
                f"{path}: is the name of a {suffix} file, and --format asks for {options.suffix}",
                hint="Leave one of them out.",
            )
        if len(cases) == 1 and num_inputs == 1:
            return [path]
        raise OutputError(
            f"{path}: is the name of one file, and there are {max(num_inputs, len(cases))} cases",
            hint="Give a folder: -o FOLDER",
        )
    if path.is_file() or path.suffix.lower() in _UNWRITABLE:
        raise OutputError(
            f"{path}: is not a format that can be written", hint="Use .nii.gz, .nii, .nrrd or .mha."
        )
    return [path / f"{case.name}{options.suffix or case.suffix}" for case in cases]


def _map_endings(labels: Sequence[str]) -> list[str]:
    """What the probability map of each label ends with: its name as a file name can have it, and once only."""
    endings: list[str] = []
    for index, name in enumerate(labels, start=1):
        ending = "_prob_" + re.sub(r"[^\w.+-]+", "_", name)
        endings.append(f"{ending}_{index}" if ending in endings else ending)
    return endings


def _with_ending(target: Path, ending: str) -> Path:
    suffix = output_suffix(target) or ""
    return target.with_name(f"{target.name.removesuffix(suffix)}{ending}{suffix}")
