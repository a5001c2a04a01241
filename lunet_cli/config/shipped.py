"""The configurations that come with the package, found by name wherever it is installed."""

from __future__ import annotations

import os
from pathlib import Path

from lunet_cli.config.names import closest
from lunet_cli.errors import ConfigError

LIST_HINT = "`lunet config list` shows those that are shipped."
_PACKAGE = Path(__file__).resolve().parents[1]


def shipped_configs() -> dict[str, Path]:
    """The shipped files by their names without ending."""
    # A wheel carries the folder inside the package; a checkout has it beside the package.
    folder = _PACKAGE / "configs"
    if not folder.is_dir():
        folder = _PACKAGE.parent / "configs"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find_config(path: Path) -> Path:
    """The file that a person means: their own, or else the shipped one of that name.

    `lunet_small`, `lunet_small.yaml` and `configs/lunet_small.yaml` name a shipped file, unless
    there is such a file.
    """
    # The documentation says both `lunet_small` and `configs/lunet_small.yaml`.
    is_name = str(path.parent) in (".", "configs") and path.suffix in ("", ".yaml", ".yml")
    if not is_name or os.path.isfile(path):  # Unlike pathlib, it takes any text.
        return path
    return shipped_configs().get(path.stem, path)


def shipped_config(name: str) -> Path:
    """The shipped file called `name`, with or without ending.

    Raises:
        ConfigError: There is none; the message gives the closest names.
    """
    shipped = shipped_configs()
    path = shipped.get(Path(name).name.removesuffix(".yaml").removesuffix(".yml"))
    if path is None:
        raise ConfigError(
            f"'{name}' is not a shipped configuration. {closest(name, shipped)}", hint=LIST_HINT
        )
    return path


def purpose(path: Path) -> str:
    """What a shipped file is for: the comment below its first line."""
    return path.read_text(encoding="utf-8").splitlines()[1].removeprefix("# ")
