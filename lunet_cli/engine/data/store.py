"""Preprocessed cases, checked once and kept in memory, in files, or read anew."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813

from lunet_cli import __version__
from lunet_cli.config.machine import GIB, memory_bytes
from lunet_cli.engine.data.cases import Case, CaseSet
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.mistakes import Mistakes
from lunet_cli.engine.data.preprocessing import Preprocessing
from lunet_cli.engine.data.reading import OnRemark, ignore_remark
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.errors import DataError

CacheKind = Literal["memory", "disk", "none"]
_MOST_NAMED = 6  # Labels in a hint.


@dataclass(frozen=True)
class PreparedCase:
    """A preprocessed case.

    Args:
        image: Normalised intensities (C, D, H, W), float32.
        label: Label values (D, H, W), uint8 or uint16.
        spacing_mm: Voxel size (z, y, x).
    """

    image: npt.NDArray[np.float32]
    label: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
    spacing_mm: tuple[float, float, float]


def prepare_case(
    case: Case,
    case_set: CaseSet,
    *,
    preprocessing: Preprocessing,
    scheme: LabelScheme,
    on_remark: OnRemark = ignore_remark,
) -> PreparedCase:
    """Read, check and preprocess one case.

    Raises:
        DataError: The files are damaged, image and label do not share a grid, or a label value is
            not configured.
    """
    channels, label = case_set.reader(case, on_remark)
    _require_room(case, channels, preprocessing)
    require_same_grid(case, channels[0], label)
    require_known_values(str(case.label), label, scheme, may_name=True)
    try:
        volume = preprocessing.apply_to_image(channels)
    except DataError as error:  # It knows no files.
        source = case.images[0] if case.images else case.case_id
        raise DataError(f"{source}: {error.message}", hint=error.hint) from None
    label_map = preprocessing.apply_to_label(label)
    labels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16] = label_map.array
    # Labels are kept for every case, and few data sets have more than 255 of them.
    if max(scheme.values) < 256:
        labels = labels.astype(np.uint8)
    return PreparedCase(volume.array, labels, volume.geometry.spacing_mm)


def _require_room(case: Case, channels: Sequence[sitk.Image], preprocessing: Preprocessing) -> None:
    """Raise if the preprocessed case would not fit into memory.

    A small `spacing_mm` multiplies its voxels.
    """
    size = preprocessing.place(Geometry.of(channels[0])).grid.size
    needed = 4 * len(channels) * math.prod(size)  # bytes of float32
    if needed > memory_bytes():
        voxels = " x ".join(map(str, size))
        raise DataError(
            f"case {case.case_id}: would have {voxels} voxels, more than {needed / GIB:,.0f} GiB",
            hint="Set a coarser preprocessing.spacing_mm.",
        )


def require_known_values(
    name: str, label: sitk.Image, scheme: LabelScheme, *, may_name: bool = False
) -> None:
    """Raise if a label map holds values that belong to no region.

    Args:
        name: Where the label map comes from.
        label: The label map.
        scheme: The labels that may occur.
        may_name: Whether they are configured still, so that a value can be named; a trained network
            has its own.

    Raises:
        DataError: With `name`, where the label map comes from.
    """
    unknown = scheme.unknown_values(sitk.GetArrayViewFromImage(label))
    if unknown:
        known = ", ".join(f"{region}: {list(values)}" for region, values in scheme.regions)
        noun = "label value" if len(unknown) == 1 else "label values"
        listed = ", ".join(map(str, unknown[:5]))
        raise DataError(
            f"{name}: {noun} {listed} not configured (labels are {known})",
            hint=_naming_hint(unknown, scheme) if may_name else "Correct the label map.",
        )


def _naming_hint(unknown: list[int], scheme: LabelScheme) -> str:
    """How the unknown values are named, together with those that are known."""
    # Named labels replace those of the data set, so all of them are given.
    if len(unknown) + len(scheme.regions) > _MOST_NAMED:
        return (
            "Correct the label map, or name all values in the section labels (labels.NAME: VALUE)."
        )
    settings = []
    for name, values in scheme.regions:
        value = values[0] if len(values) == 1 else list(values)
        settings.append(f"`labels.{name}={value}`")
    for one in unknown:
        name = "NAME" if len(unknown) == 1 else f"NAME{one}"
        settings.append(f"`labels.{name}={one}`")
    return f"Correct the label map, or name the value ({' '.join(settings)})."


def require_same_grid(case: Case, image: sitk.Image, label: sitk.Image) -> None:
    """Raise if the label map of a case does not lie on the grid of its image.

    Raises:
        DataError: It does not; the message says in what it differs.
    """
    differences = Geometry.of(label).differences(Geometry.of(image))
    if differences:
        raise DataError(
            f"{case.label}: does not lie on the grid of its image {case.images[0].name}: "
            f"{'; '.join(differences)}",
            hint="Resample the label map onto the image (nearest neighbour), or correct its "
            "header.",
        )


class CaseStore:
    """Gives out prepared cases by index.

    Args:
        case_set: The data set, for its reader.
        cases: The cases of this store, in order.
        preprocessing: Applied to each.
        scheme: The labels that may occur.
        kind: Where prepared cases are kept.
        folder: Where files go for `disk`.
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
    ) -> None:
        self.cases = tuple(cases)
        self._case_set = case_set
        self._preprocessing = preprocessing
        self._scheme = scheme
        self._kind = kind
        self._folder = folder / _fingerprint(case_set, preprocessing, scheme)
        self._memory: dict[int, PreparedCase] = {}

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> PreparedCase:
        """The prepared case at `index`; see `get`."""
        return self.get(index)

    def foreground_of(self, label: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.bool_]:
        """The voxels of a label map of ours that have a label."""
        is_foreground: npt.NDArray[np.bool_] = label != 0
        if self._scheme.ignored is not None:
            is_foreground &= label != self._scheme.ignored
        return is_foreground

    def get(self, index: int, on_remark: OnRemark = ignore_remark) -> PreparedCase:
        """The prepared case at `index`; `on_remark` is told what is odd about files that are read.

        Raises:
            DataError: It cannot be read; the message names the file.
        """
        if index in self._memory:
            return self._memory[index]
        case = self.cases[index]
        stored = self._from_disk(case) if self._kind == "disk" else None
        if stored is not None:
            return stored
        prepared = self._prepare(case, on_remark)
        if self._kind == "memory":
            self._memory[index] = prepared
        elif self._kind == "disk":
            self._to_disk(case, prepared)
        return prepared

    def scan(
        self, on_case: Callable[[], None], mistakes: Mistakes, on_remark: OnRemark = ignore_remark
    ) -> dict[str, tuple[int, ...]]:
        """Read, check and keep every case; call `on_case` after each.

        Args:
            on_case: Called after each case.
            mistakes: Gathers what is wrong with single cases.
            on_remark: Called with what is odd about a file.

        Returns:
            Shape of the image (C, D, H, W) of each case that can be used, by its name.
        """
        shapes = {}
        for index, case in enumerate(self.cases):
            with mistakes.gathering():
                shapes[case.case_id] = self.get(index, on_remark).image.shape
            on_case()
        return shapes

    def _prepare(self, case: Case, on_remark: OnRemark) -> PreparedCase:
        try:
            return prepare_case(
                case,
                self._case_set,
                preprocessing=self._preprocessing,
                scheme=self._scheme,
                on_remark=on_remark,
            )
        except (RuntimeError, MemoryError) as error:
            # SimpleITK tells by a RuntimeError whatever it cannot do. One such case must not keep
            # the mistakes of the others from being told.
            files = ", ".join(map(str, case.images))
            raise DataError(f"case {case.case_id} ({files}): {error!r}") from error

    def _paths(self, case: Case) -> tuple[Path, Path]:
        """Where the case is kept: named after its files, so that a changed file is read anew."""
        stamp = []
        for path in (*case.images, case.label):
            if path is not None and path.exists():
                status = path.stat()
                stamp.append((str(path), status.st_size, status.st_mtime_ns))
        digest = hashlib.sha256(json.dumps([case.case_id, stamp]).encode()).hexdigest()[:16]
        return self._folder / f"{digest}.image.npy", self._folder / f"{digest}.label.npz"

    def _from_disk(self, case: Case) -> PreparedCase | None:
        image_path, label_path = self._paths(case)
        if not (image_path.is_file() and label_path.is_file()):
            return None
        with np.load(label_path) as stored:
            label, (z, y, x) = stored["label"], stored["spacing_mm"].tolist()
        return PreparedCase(np.load(image_path, mmap_mode="r"), label, (z, y, x))

    def _to_disk(self, case: Case, prepared: PreparedCase) -> None:
        image_path, label_path = self._paths(case)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            # Each file appears whole, and the label last: with it, the case counts as kept.
            with tempfile.TemporaryDirectory(dir=self._folder) as scratch:
                image, label = Path(scratch, "image.npy"), Path(scratch, "label.npz")
                np.save(image, prepared.image)
                np.savez_compressed(
                    label, label=prepared.label, spacing_mm=np.array(prepared.spacing_mm)
                )
                os.replace(image, image_path)
                os.replace(label, label_path)
        except OSError as error:
            raise DataError(
                f"{self._folder}: cannot keep preprocessed volumes there ({error})"
            ) from None


def choose_cache(
    cases: Sequence[Case],
    kind: Literal["auto", "memory", "disk", "none"],
    *,
    limit_mib: int,
    sample: PreparedCase,
) -> CacheKind:
    """Decide where volumes are kept, from the size of one of them.

    Args:
        cases: All cases of the run.
        kind: What the configuration asks for.
        limit_mib: Memory that `auto` may use.
        sample: A prepared case, taken as typical.
    """
    if kind != "auto":
        return kind
    total_mib = len(cases) * (sample.image.nbytes + sample.label.nbytes) / 2**20
    return "memory" if total_mib <= limit_mib else "disk"


def _fingerprint(case_set: CaseSet, preprocessing: Preprocessing, scheme: LabelScheme) -> str:
    # A function's repr holds its address, which is another in every process.
    reader = getattr(case_set.reader, "__qualname__", None) or repr(case_set.reader)
    parts = [__version__, reader, json.dumps(preprocessing.to_dict()), json.dumps(scheme.to_dict())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
