"""The `dataset.json` of a data set, as the Medical Segmentation Decathlon or nnU-Net writes it."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lunet_cli.config.description import read_description
from lunet_cli.config.labels import Regions
from lunet_cli.errors import DataError

_NAME = "dataset.json"
_IGNORED = "ignore"  # nnU-Net's word for voxels without a verdict


@dataclass(frozen=True)
class DatasetJson:
    """What it says, checked value by value when it is asked for: no layout needs all of it.

    Args:
        path: The file.
        values: Its object.
    """

    path: Path
    values: dict[str, object]

    @property
    def has_training(self) -> bool:
        """Whether it says which cases there are, as MSD and nnU-Net 1 do."""
        return "training" in self.values

    @property
    def training(self) -> list[object]:
        """An entry for each case; empty where there is no list."""
        entries = self.values.get("training")
        if not isinstance(entries, list):
            return []
        return entries

    @property
    def file_ending(self) -> str:
        """End of the names of volumes; empty where any will do.

        Raises:
            DataError: It is not a text.
        """
        ending = self.values.get("file_ending", "")
        if not isinstance(ending, str):
            raise DataError(f"{self.path}: cannot read the file_ending {ending!r}")
        return ending

    @property
    def num_channels(self) -> int:
        """Image channels of each case; 0 where it does not say.

        Raises:
            DataError: They are not listed.
        """
        channels = self.values.get("channel_names", self.values.get("modality", {}))
        if not channels:
            return 0
        if not isinstance(channels, Sized):
            raise DataError(f"{self.path}: cannot read the channels {channels!r}")
        return len(channels)

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the channels, such as `CT` or `T1`, in their order; empty where it has none."""
        channels = self.values.get("channel_names", self.values.get("modality", {}))
        if not isinstance(channels, dict):
            return ()
        return tuple(str(name) for name in channels.values())

    @property
    def labels(self) -> Regions | None:
        """Values of each label, without background and `ignore`; None where it names none.

        Raises:
            DataError: Something else stands there.
        """
        found = self._named()
        found.pop(_IGNORED, None)
        return found or None

    @property
    def ignored(self) -> int | None:
        """Value of voxels that nobody has labelled, called `ignore`; None where it names none.

        Raises:
            DataError: There are several, or something else stands there.
        """
        values = self._named().get(_IGNORED, ())
        if len(values) > 1:
            raise DataError(f"{self.path}: the label ignore has several values, {list(values)}")
        return values[0] if values else None

    def _named(self) -> Regions:
        labels = self.values.get("labels")
        if not isinstance(labels, dict):
            return {}
        found: Regions = {}
        try:
            for key, value in labels.items():
                name, values = _named_values(str(key), value)
                if values:
                    found[name] = values
        except (TypeError, ValueError, OverflowError):
            raise DataError(f"{self.path}: cannot read the labels {labels!r}") from None
        return found


def has_dataset_json(folder: Path) -> bool:
    """Whether one lies in a folder."""
    return (folder / _NAME).is_file()


def read_dataset_json(folder: Path) -> DatasetJson:
    """Read the one that lies in a folder.

    Raises:
        DataError: It is missing, or is not a JSON object.
    """
    path = folder / _NAME
    values = read_description(path)
    if not isinstance(values, dict):
        raise DataError(f"{path}: expected an object with labels and cases")
    return DatasetJson(path, values)


def _named_values(key: str, value: object) -> tuple[str, tuple[int, ...]]:
    """A label as MSD writes it, `"1": "name"`, or as nnU-Net does, `"name": 1` or `[1, 2]`."""
    listed: list[Any] = [value]
    if key.isdigit():
        key, listed = str(value), [key]
    elif isinstance(value, list):
        listed = value
    return key, tuple(filter(None, map(int, listed)))
