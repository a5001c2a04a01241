"""Folders and JSON files that describe a data set: the door for `dataset.json` and splits files."""

from __future__ import annotations

import json
import stat
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from lunet_cli.config.names import did_you_mean
from lunet_cli.errors import ConfigError, DataError

# 10,000 cases in five folds take 3 MB; more than this would be read for seconds.
_MOST_BYTES = 16 * 2**20


def require_folder(folder: Path) -> None:
    """Raise if there is no such folder.

    Raises:
        DataError: With the nearest name.
    """
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "there is no such folder"
        raise DataError(f"{folder}: {what}", hint=_similar_folder(folder))


def require_apart(train_dir: Path, val_dir: Path) -> None:
    """Raise if training and validation cases lie in one folder.

    Raises:
        ConfigError: They do.
    """
    if train_dir.resolve() == val_dir.resolve():
        raise ConfigError(
            f"data.val_dir: {val_dir} is data.train_dir too; the validation would be on training "
            "cases"
        )


def read_description(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: It is missing, is not a file, is too large, or is not JSON.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{path}: is not a file")
        if status.st_size > _MOST_BYTES:
            raise DataError(
                f"{path}: is larger than {_MOST_BYTES // 2**20} MiB, too large to describe a data "
                "set"
            )
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except RecursionError:
        raise DataError(f"{path}: is not valid JSON (its brackets are nested too deep)") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: is not valid JSON ({error})") from None


def _similar_folder(folder: Path) -> str:
    parent = folder.parent
    if not parent.is_dir():
        return ""
    names = [path.name for path in parent.iterdir() if path.is_dir()]
    close = get_close_matches(folder.name, names, n=1)
    return did_you_mean([str(parent / name) for name in close])
