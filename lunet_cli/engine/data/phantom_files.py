"""The job `write_phantom`: the built-in volumes as files, in any layout and at any size."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813

from lunet_cli.config.data import PHANTOM_LABELS, PHANTOM_NAME
from lunet_cli.config.options import PhantomOptions
from lunet_cli.engine.data.phantom import make_phantom
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.engine.data.writing import remove_partial_folder, write_volume
from lunet_cli.errors import OutputError
from lunet_cli.records.files import write_atomically
from lunet_cli.results.events import CaseRead, Event

# Shapes are drawn on a small cube and interpolated: a CT of 600 planes drawn voxel by voxel would
# take 4 GB of coordinates.
_LARGEST_DRAWN = 64
_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
# Grey values of the phantom, about 0 to 200, as HU: outside is air, tissue is water.
_HU_PER_GREY, _HU_OF_OUTSIDE = 10.0, -1000.0


def _ignore(_: Event) -> None:
    """Do nothing with an event."""


def write_phantom(
    folder: Path | str,
    options: PhantomOptions | None = None,
    *,
    on_event: Callable[[Event], None] = _ignore,
) -> None:
    """Write built-in volumes as a data set, one after the other.

    Args:
        folder: The new data set; nothing may be there.
        options: How many, how large, and how they are arranged.
        on_event: Called with each case that has been written.

    Raises:
        OutputError: The folder is not empty, or cannot be written.

    Example:
        >>> options = lunet.PhantomOptions(num_cases=2, size=(16, 24, 24), layout="msd")
        >>> lunet.write_phantom("phantoms", options)
    """
    folder, options = Path(folder), options or PhantomOptions()
    _require_empty(folder)
    for index in range(options.num_cases):
        _write_case(folder, options, index)
        on_event(CaseRead(index + 1, options.num_cases))
    for place in {path.parent for path in folder.rglob("*") if path.is_dir()} | {folder}:
        remove_partial_folder(place)
    _describe(folder, options)


def _require_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder}: is not empty", hint="Name a new folder.")


def _write_case(folder: Path, options: PhantomOptions, index: int) -> None:
    depth, height, width = options.size
    geometry = Geometry(options.size, options.spacing_mm, (0.0, 0.0, 0.0), _IDENTITY)
    rng = np.random.default_rng([options.seed, index])
    small, label = make_phantom(_drawn_edge(options), noise=0.0, rng=rng)
    images, label_path = _paths(folder, options, index)
    grown = _grow(label, (width, height, depth), sitk.sitkNearestNeighbor)
    write_volume(grown.astype(np.uint8), geometry, label_path)
    for channel, path in enumerate(images):
        contrast = small if channel % 2 == 0 else small.max() - small
        array = _grow(contrast.astype(np.float32), (width, height, depth), sitk.sitkLinear)
        write_volume(_with_noise(array, options, rng), geometry, path)


def _drawn_edge(options: PhantomOptions) -> int:
    return min(_LARGEST_DRAWN, max(16, *options.size))


def _grow(array: npt.NDArray[Any], size: tuple[int, int, int], interpolator: int) -> Any:
    """The cube stretched to `size` (x, y, z)."""
    image = sitk.GetImageFromArray(array)
    edges = image.GetSize()
    spacing = [edge / wanted for edge, wanted in zip(edges, size, strict=True)]
    image = sitk.Resample(
        image,
        size,
        sitk.Transform(),
        interpolator,
        [(step - 1) / 2 for step in spacing],
        spacing,
        image.GetDirection(),
        0.0,
        image.GetPixelID(),
        True,
    )
    return sitk.GetArrayFromImage(image)


def _with_noise(
    array: npt.NDArray[np.float32], options: PhantomOptions, rng: np.random.Generator
) -> npt.NDArray[Any]:
    """Noise of 12 % of the contrast, plane by plane, and HU in whole numbers for CT."""
    for plane in array:
        plane += 6.0 * rng.standard_normal(plane.shape, dtype=np.float32)
    if options.modality == "mri":
        return array
    np.multiply(array, _HU_PER_GREY, out=array)
    np.add(array, _HU_OF_OUTSIDE, out=array)
    return np.clip(array, -1024, 3071, out=array).astype(np.int16)


def _paths(folder: Path, options: PhantomOptions, index: int) -> tuple[list[Path], Path]:
    """Where the channels and the label map of a case lie."""
    name, end, channels = PHANTOM_NAME.format(index), options.suffix, range(options.num_channels)
    if options.layout == "harp":
        return [folder / f"ct_{name}{end}"], folder / f"label_{name}{end}"
    if options.layout == "bids":
        subject = f"sub-{index:04d}"
        anat, derived = folder / subject / "anat", folder / "derivatives" / "manual" / subject
        names = [f"{subject}_T{channel + 1}w{end}" for channel in channels]
        return [anat / one for one in names], derived / "anat" / f"{subject}_dseg{end}"
    images, labels = "images", "labels"
    if options.layout in ("msd", "nnunet"):
        images, labels = "imagesTr", "labelsTr"
    label = folder / labels / f"{name}{end}"
    if options.layout == "msd" or (options.layout == "paired" and options.num_channels == 1):
        return [folder / images / f"{name}{end}"], label
    return [folder / images / f"{name}_{channel:04d}{end}" for channel in channels], label


def _describe(folder: Path, options: PhantomOptions) -> None:
    """Write what says of a data set what it is, where the layout has something."""
    if options.layout == "bids":
        _describe_bids(folder)
    if options.layout not in ("msd", "nnunet"):
        return
    kind = "CT" if options.modality == "ct" else "MRI"
    channels = {str(channel): kind for channel in range(options.num_channels)}
    values: dict[str, object] = {"name": "phantom"}
    if options.layout == "msd":
        values["modality"] = channels
        named = {str(value): name for name, (value,) in PHANTOM_LABELS.items()}
        values["labels"] = {"0": "background"} | named
        values["training"] = [_msd_entry(options, index) for index in range(options.num_cases)]
    else:
        numbers = {name: value for name, (value,) in PHANTOM_LABELS.items()}
        values |= {"channel_names": channels, "labels": {"background": 0} | numbers}
        values |= {"numTraining": options.num_cases, "file_ending": options.suffix}
    _write(folder / "dataset.json", json.dumps(values, indent=2))


def _describe_bids(folder: Path) -> None:
    derived = folder / "derivatives" / "manual"
    for place, kind in ((folder, "raw"), (derived, "derivative")):
        values: dict[str, object] = {"Name": "phantom", "BIDSVersion": "1.10.0"}
        values["DatasetType"] = kind
        if kind == "derivative":
            values["GeneratedBy"] = [{"Name": "lunet"}]
        _write(place / "dataset_description.json", json.dumps(values, indent=2))
    rows = [f"{value}\t{name}" for name, (value,) in PHANTOM_LABELS.items()]
    _write(derived / "dseg.tsv", "\n".join(["index\tname", "0\tbackground", *rows, ""]))


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda file: file.write(text.encode()))


def _msd_entry(options: PhantomOptions, index: int) -> dict[str, str]:
    name = f"{PHANTOM_NAME.format(index)}{options.suffix}"
    return {"image": f"imagesTr/{name}", "label": f"labelsTr/{name}"}
