"""Preprocessed cases by index, kept in memory, in files, or prepared anew."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from lunet_cli import __version__
from lunet_cli.engine.data.cache_entry import (
    open_entry,
    read_facts,
    read_findings,
    sweep,
    write_entry,
)
from lunet_cli.engine.data.cases import Case, CaseSet, naming
from lunet_cli.engine.data.content import CONTENTS, Content, content_of
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.mistakes import Mistakes
from lunet_cli.engine.data.preprocessing import Preprocessing
from lunet_cli.engine.data.store import PreparedCase, prepare_case
from lunet_cli.engine.data.survey import survey
from lunet_cli.errors import DataError, LunetError
from lunet_cli.results.cache import Origin
from lunet_cli.results.check import CaseFindings
from lunet_cli.results.words import plural

CacheKind = Literal["memory", "disk", "none"]
CachePrecision = Literal["fp32", "fp16"]
_LAYOUT = 3  # Counted up when the files of an entry change.


class CaseStore:
    """Gives out prepared cases by index.

    A run sees each file as it was when the run first asked for it: what is kept belongs to that
    content, and a file that changes later is noticed by the next run.

    Args:
        case_set: The data set, for its reader.
        cases: The cases of this store, in order.
        preprocessing: Applied to each.
        scheme: The labels that may occur.
        kind: Where prepared cases are kept.
        folder: Where files go for `disk`.
        precision: Numbers in which intensities are kept.
    """

    def __init__(
        self,
        case_set: CaseSet,
        cases: Sequence[Case],
        preprocessing: Preprocessing,
        scheme: LabelScheme,
        *,
        kind: CacheKind,
        folder: Path,
        precision: CachePrecision = "fp32",
    ) -> None:
        self.cases = tuple(cases)
        self._case_set = case_set
        self._preprocessing = preprocessing
        self._scheme = scheme
        self._kind = kind
        self._folder = folder
        self._precision = precision
        self._fingerprint = _fingerprint(case_set, preprocessing, scheme, precision)
        self._memory: dict[int, PreparedCase] = {}
        self._contents: dict[int, Content] = {}
        self._findings: dict[int, CaseFindings] = {}

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> PreparedCase:
        """The prepared case at `index`.

        Raises:
            DataError: It cannot be read; the message names the file.
        """
        if index in self._memory:
            return self._memory[index]
        if self._kind == "disk":
            kept = open_entry(self._entry(index))
            return self._keep(index) if kept is None else kept
        prepared = self._prepare(index)
        if self._kind == "memory":
            self._memory[index] = prepared
        return prepared

    def shape(self, index: int) -> tuple[int, ...]:
        """Shape (C, D, H, W) of the image at `index`, from what is kept about it if anything is.

        Raises:
            DataError: It has to be read, and cannot be.
        """
        facts = read_facts(self._entry(index)) if self._kind == "disk" else None
        return self[index].image.shape if facts is None else facts.shape

    def findings(self, index: int) -> CaseFindings:
        """What was found in the files of the case at `index`.

        Raises:
            DataError: It has to be read, and cannot be.
        """
        if index not in self._findings:
            kept = read_findings(self._entry(index)) if self._kind == "disk" else None
            if kept is None:
                self._prepare(index)
            else:
                self._findings[index] = kept
        return self._findings[index]

    def scan(self, on_case: Callable[[], None], mistakes: Mistakes) -> dict[str, tuple[int, ...]]:
        """Read, check and keep every case that is not kept yet, several at once.

        Args:
            on_case: Called after each case.
            mistakes: Gathers what is wrong with single cases.

        Returns:
            Shape of the image (C, D, H, W) of each case that can be used, by its name.
        """
        if self._kind == "disk":
            sweep(self._folder)
            with contextlib.suppress(OSError):  # Whatever has to be kept tells it.
                (self._folder / CONTENTS).mkdir(parents=True, exist_ok=True)
        shapes = {}
        places = {case.case_id: index for index, case in enumerate(self.cases)}
        found = survey(self.cases, lambda case: self.shape(places[case.case_id]))
        for case, shape in zip(self.cases, found, strict=True):
            if isinstance(shape, LunetError):
                mistakes.add(shape)
            else:
                shapes[case.case_id] = shape
            on_case()
        return shapes

    def kept_shape(self, index: int) -> tuple[int, ...] | None:
        """Shape (C, D, H, W) of the image at `index` if a file tells it; nothing is prepared."""
        if not self._folder.is_dir():
            return None
        facts = read_facts(self._entry(index))
        return None if facts is None else facts.shape

    def _entry(self, index: int) -> Path:
        if index not in self._contents:
            self._contents[index] = content_of(self.cases[index], self._folder / CONTENTS)
        key = f"{self._fingerprint}\n{self._contents[index].digest}"
        return self._folder / hashlib.sha256(key.encode()).hexdigest()[:32]

    def _keep(self, index: int) -> PreparedCase:
        entry = self._entry(index)
        prepared = self._prepare(index)
        if not self._contents[index].is_current():
            raise DataError(
                f"case {self.cases[index].case_id}: its files have changed since this run began",
                hint="Start again once they are complete.",
            )
        write_entry(entry, prepared, self._findings[index], self._origin(index))
        return open_entry(entry) or prepared

    def _origin(self, index: int) -> Origin:
        case = self.cases[index]
        files = [*case.images, *([] if case.label is None else [case.label]), *case.maps]
        spacing = "their own spacing"
        if self._preprocessing.spacing_mm is not None:
            spacing = f"{' x '.join(f'{mm:g}' for mm in self._preprocessing.spacing_mm)} mm"
        scaling = self._preprocessing.normalization
        name: str = scaling.name
        if name == "ct_window":
            name += f" {scaling.window_level:g} +- {scaling.window_width / 2:g}"
        settings = [spacing, name, self._precision, plural(len(self._scheme.regions), "label")]
        return Origin(
            case=case.case_id,
            files=tuple(str(file.absolute()) for file in files),
            digest=self._contents[index].digest,
            settings=", ".join(settings),
            version=__version__,
        )

    def _prepare(self, index: int) -> PreparedCase:
        case = self.cases[index]
        with naming(case):
            prepared, self._findings[index] = prepare_case(
                case, self._case_set, preprocessing=self._preprocessing, scheme=self._scheme
            )
        return _halved(prepared) if self._precision == "fp16" else prepared


def choose_cache(
    num_cases: int,
    kind: Literal["auto", "memory", "disk", "none"],
    *,
    limit_mib: int,
    case_bytes: int,
) -> CacheKind:
    """Decide where volumes are kept, from the size of one of them.

    Args:
        num_cases: All cases of the run.
        kind: What the configuration asks for.
        limit_mib: Memory that `auto` may use.
        case_bytes: Size of a prepared case, taken as typical.
    """
    if kind != "auto":
        return kind
    return "memory" if num_cases * case_bytes <= limit_mib * 2**20 else "disk"


def _halved(prepared: PreparedCase) -> PreparedCase:
    """The case in float16, unless its intensities leave the range in which that is harmless."""
    # Far from 0, float16 is as coarse as one unit from 1024 on.
    if np.abs(prepared.image).max(initial=0) > 1024:
        return prepared
    return replace(prepared, image=prepared.image.astype(np.float16))


def _fingerprint(
    case_set: CaseSet,
    preprocessing: Preprocessing,
    scheme: LabelScheme,
    precision: CachePrecision,
) -> str:
    # A function's repr holds its address, which is another in every process.
    reader = getattr(case_set.reader, "__qualname__", None) or repr(case_set.reader)
    if case_set.soft_maps is not None:
        reader += f", maps of {case_set.soft_maps.origin}"
    settings = [preprocessing.to_dict(), scheme.to_dict(), precision, _LAYOUT]
    return "\n".join([__version__, reader, json.dumps(settings)])
