"""Predictions as a derivative of a BIDS data set: names, tables, and what describes them.

See "Derivatives" in https://bids-specification.readthedocs.io.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from lunet_cli import __version__
from lunet_cli.config.options import OutputOptions
from lunet_cli.engine.data.bids import SourceName, source_name
from lunet_cli.engine.data.disk import is_file
from lunet_cli.engine.inference.inputs import InputCase
from lunet_cli.engine.inference.outputs import CaseOutput, Sidecar
from lunet_cli.errors import OutputError
from lunet_cli.records.files import read_text, write_atomically
from lunet_cli.records.prediction import PREDICTION
from lunet_cli.records.record import json_text

_BIDS_VERSION = "1.10.0"
_DESCRIPTION = "dataset_description.json"
# Label maps of other tools beside these are told apart by it.
_DESC = "desc-lunet"
_RAW = "raw"


def name_of(case: InputCase) -> SourceName:
    """What the derivatives of a case are called after.

    Raises:
        DataError: An image is not named as BIDS asks.
    """
    return source_name([Path(str(image)) for image in case.images])


def bids_outputs(
    cases: Sequence[InputCase], options: OutputOptions, labels: Sequence[str]
) -> list[CaseOutput]:
    """The files of each case, below `options.output`.

    Raises:
        OutputError: Two cases would have one name, or the images are of several data sets.
        DataError: An image is not named as BIDS asks.
    """
    named = list(map(name_of, cases))
    _require_one_root(named, options)
    outputs: list[CaseOutput] = []
    suffix = options.suffix or ".nii.gz"
    for name in named:
        folder = options.output / name.folder
        stem = f"{name.entities}_{_DESC}"
        maps = []
        if options.probabilities:
            for ending in _words(labels):
                maps.append(folder / f"{name.entities}_label-{ending}_{_DESC}_probseg{suffix}")
        sidecar = Sidecar(folder / f"{stem}_dseg.json", json_text(_facts(name)))
        outputs.append(CaseOutput(folder / f"{stem}_dseg{suffix}", tuple(maps), sidecar))
    _require_apart(outputs)
    return outputs


def describe_dataset(
    folder: Path, cases: Sequence[InputCase], values: Mapping[str, int], networks: Sequence[str]
) -> None:
    """Write what says of a derivative what it is, and which value is which label.

    Args:
        folder: Where it is.
        cases: Those that are segmented.
        values: Label values by name.
        networks: What segments them, in words.

    Raises:
        OutputError: It cannot be written.
    """
    by_value = sorted(values, key=values.__getitem__)
    rows = [f"{values[name]}\t{name}" for name in by_value]
    title = f"Label maps of {', '.join(by_value)}, by lunet {__version__}: {', '.join(networks)}"
    texts = {
        _DESCRIPTION: json_text(_description(folder, cases, title)),
        "dseg.tsv": "\n".join(["index\tname", "0\tbackground", *rows, ""]),
        "README": f"{title}.\n\nFor research only: they come from no medical device.\n",
        ".bidsignore": f"{PREDICTION}\n",
    }
    for name, text in texts.items():
        write_text(folder / name, text)


def _description(folder: Path, cases: Sequence[InputCase], title: str) -> dict[str, object]:
    made_by = {"Name": "lunet", "Version": __version__, "Description": title}
    described: dict[str, object] = {
        "Name": "lunet",
        "BIDSVersion": _BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [made_by],
    }
    if cases:
        link = Path(os.path.relpath(name_of(cases[0]).root, folder)).as_posix()
        described |= {"DatasetLinks": {_RAW: link}, "SourceDatasets": [{"URL": link}]}
    return described


def require_own_dataset(options: OutputOptions) -> None:
    """Raise if a folder is a data set that was not made by lunet.

    Raises:
        OutputError: It is.
    """
    path = options.output / _DESCRIPTION
    if is_file(path) and '"Name": "lunet"' not in read_text(path):
        raise OutputError(
            f"{options.output}: is a data set of BIDS already, and not of lunet",
            hint="Write below it, such as `output=FOLDER/derivatives/lunet`.",
        )


def write_text(path: Path, text: str) -> None:
    """Write a text, whole or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    write_atomically(path, lambda file: file.write(text.encode()))


def _facts(name: SourceName) -> dict[str, object]:
    """What stands beside a label map: the images that it is of."""
    sources = [f"bids:{_RAW}:{image.relative_to(name.root).as_posix()}" for image in name.images]
    return {"Description": "Label map by lunet", "Sources": sources, "Manual": False}


def _words(labels: Sequence[str]) -> list[str]:
    """Labels as entities have them, of letters and digits."""
    words: list[str] = []
    for number, label in enumerate(labels, start=1):
        word = re.sub(r"[^A-Za-z0-9]", "", label) or str(number)
        words.append(word if word not in words else f"{word}{number}")
    return words


def _require_one_root(named: Sequence[SourceName], options: OutputOptions) -> None:
    roots = {name.root for name in named}
    if len(roots) > 1:
        listed = " and ".join(sorted(map(str, roots))[:2])
        raise OutputError(
            f"{options.output}: a derivative is of one data set, and the images are of {listed}",
            hint="Segment them one after the other.",
        )


def _require_apart(outputs: Sequence[CaseOutput]) -> None:
    seen: set[Path] = set()
    for output in outputs:
        if output.label_map in seen:
            raise OutputError(
                f"{output.label_map}: two images would have this label map",
                hint="Name the images of one contrast.",
            )
        seen.add(output.label_map)
