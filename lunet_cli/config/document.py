"""YAML from outside as plain values: the door for configuration files and the values of `--set`.

What a configuration never needs is refused here, because each of it has been used to crash or to
stall a reader of YAML: tags (`!!binary`), anchors and aliases (a file of 1 kB can stand for 10^9
values), deep nesting (the parser is recursive), files without end, numbers of thousands of digits.
What is left is read with YAML's own rules, but for dates and for `=` and `<<`, which are text.
"""

from __future__ import annotations

import contextlib
import re
import stat
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from lunet_cli.config.names import KeyPath, did_you_mean, dotted
from lunet_cli.config.presets import parse_preset
from lunet_cli.config.shipped import shipped_configs
from lunet_cli.errors import ConfigError

CONFIG_FILE = "config.yaml"
"""The resolved configuration in a run folder."""

# The longest shipped file has 1 kB, a resolved one 4 kB; PyYAML needs about a second for these 64
# kB.
_MOST_BYTES = 64 * 1024
_LONGEST_TEXT = 4096  # As long as a path can be on Linux.
_DEEPEST = 12  # Sections and lists within each other; the schema has four levels.
_LARGEST_INTEGER = 2**63 - 1
_PLAIN_TAGS = {
    "tag:yaml.org,2002:bool",
    "tag:yaml.org,2002:int",
    "tag:yaml.org,2002:float",
    "tag:yaml.org,2002:null",
}
# UTF-8 cannot write these (Unicode Standard, 3.8): a configuration with one could not be kept.
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Document:
    """A configuration file.

    Args:
        values: Sections and keys as they are written.
        lines: The line of each key, by its path.
    """

    values: dict[str, Any]
    lines: dict[KeyPath, int]


def read_document(path: Path) -> Document:
    """Read a YAML file.

    Raises:
        ConfigError: It cannot be read, is not YAML, or holds what a configuration does not need.
    """
    node, values = _parse(_read_text(path), str(path))
    if values is None:
        return Document({}, {})
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path}: expected a mapping of sections, found {_type_name(values)}",
            hint="Start with lines such as `experiment:` and `model:`; `lunet config show` prints "
            "a complete example.",
        )
    lines: dict[KeyPath, int] = {}
    _collect_lines(node, (), lines, path)
    return Document(values, lines)


def read_value(text: str) -> Any:
    """Read the value of one key, written as in YAML.

    Raises:
        ConfigError: As `read_document`; the message does not name a place.
    """
    if len(text) > _LONGEST_TEXT:
        raise ConfigError(f"the value has {len(text):,} characters; {_LONGEST_TEXT:,} are possible")
    return _parse(text, None)[1]


def _read_text(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ConfigError(
                f"{path}: cannot be read as text (it is a folder)", hint=_files_in(path)
            )
        if not stat.S_ISREG(mode):
            raise ConfigError(
                f"{path}: is not a file but a pipe or a device", hint="Write it into a file first."
            )
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file", hint=_similar_files(path)) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path.
        raise ConfigError(f"{path}: cannot be read as text ({error})") from None
    if len(content) > _MOST_BYTES:
        raise ConfigError(
            f"{path}: is larger than {_MOST_BYTES // 1024} kB; a configuration is not that long"
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}:{line}: cannot be read as text in utf-8 ({error.reason})",
            hint="Save the file as UTF-8.",
        ) from None


def _parse(text: str, source: str | None) -> tuple[yaml.Node | None, Any]:
    """The tree of a text and the values it stands for."""
    try:
        loader = _PlainLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None, None
        return node, loader.construct_document(node)
    except yaml.YAMLError as error:
        line, problem = _locate(error, text)
        if source is not None:
            problem = f"{source}:{line}: is not valid YAML: {problem}"
        raise ConfigError(problem) from None


def _locate(error: yaml.YAMLError, text: str) -> tuple[int, str]:
    """Line and words of a mistake."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return line, f"character #x{ord(text[error.position]):04x} is not allowed"
    line, problem = 1, "cannot be read"
    if isinstance(error, yaml.MarkedYAMLError):
        problem = error.problem or error.context or problem
        if error.problem_mark is not None:
            line = error.problem_mark.line + 1
    return line, problem


def _plain_resolvers() -> dict[str, list[tuple[str, Any]]]:
    """YAML's rules for what is not text, without those for dates, `=` and `<<`."""
    kept: dict[str, list[tuple[str, Any]]] = {}
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items():
        kept[first] = [resolver for resolver in resolvers if resolver[0] in _PLAIN_TAGS]
    return kept


class _PlainLoader(yaml.SafeLoader):
    """Reads mappings, lists, text, numbers, true, false and null, up to the limits of this module.

    It stays on PyYAML's parser in Python: the one in C recurses on the machine's own stack.
    """

    yaml_implicit_resolvers = _plain_resolvers()

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Refuse what a configuration does not need before a node is made of it."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        refusal = self._refusal(event)
        if refusal:
            raise yaml.composer.ComposerError(None, None, refusal, event.start_mark)
        self._depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def _refusal(self, event: Any) -> str:
        if event.anchor is not None:
            return "anchors (&name) and aliases (*name) are not read; write the values out"
        if event.tag is not None:
            return "tags (!name) are not read; put text that starts with ! into quotes"
        if self._depth >= _DEEPEST:
            return f"more than {_DEEPEST} levels within each other"
        if not isinstance(event, yaml.ScalarEvent):
            return ""
        if len(event.value) > _LONGEST_TEXT:
            return f"a text of {len(event.value):,} characters; {_LONGEST_TEXT:,} are possible"
        if _HALF_CHARACTER.search(event.value):
            return "half of a character (\\ud800 to \\udfff), which no file can hold"
        return ""

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """A whole number of at most 64 bits: larger ones are slow to read and cannot be shown."""
        try:
            value: int = super().construct_yaml_int(node)
        except ValueError:  # More than 4,300 digits, or base-60 parts that are empty.
            value = _LARGEST_INTEGER + 1
        if abs(value) > _LARGEST_INTEGER:
            raise yaml.constructor.ConstructorError(
                None, None, "a whole number that has more than 64 bits", node.start_mark
            )
        return value

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        """A decimal number."""
        try:
            value: float = super().construct_yaml_float(node)
        except (ValueError, OverflowError):
            raise yaml.constructor.ConstructorError(
                None, None, "a number that cannot be read", node.start_mark
            ) from None
        return value


# PyYAML finds constructors by tag in a table, and not by the names of methods.
_PlainLoader.add_constructor("tag:yaml.org,2002:int", _PlainLoader.construct_yaml_int)
_PlainLoader.add_constructor("tag:yaml.org,2002:float", _PlainLoader.construct_yaml_float)


def _collect_lines(
    node: yaml.Node | None, prefix: KeyPath, lines: dict[KeyPath, int], path: Path
) -> None:
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        key_path = (*prefix, str(key.value))
        line = key.start_mark.line + 1
        if key_path in lines:
            raise ConfigError(
                f"{path}:{line}: {dotted(key_path)}: stands twice, first in line {lines[key_path]}"
            )
        lines[key_path] = line
        _collect_lines(value, key_path, lines, path)


def _similar_files(path: Path) -> str:
    with contextlib.suppress(ConfigError):
        name = parse_preset(path.name).name
        return f"{name} is a network: lunet train default --set model.architecture={name}"
    # Of a folder that does not exist, this is empty.
    names = sorted(beside.name for beside in path.parent.glob("*.y*ml"))
    close = get_close_matches(path.name, names, n=3)
    if close:
        return did_you_mean([str(path.parent / name) for name in close])
    return did_you_mean(get_close_matches(path.stem, list(shipped_configs()), n=1))


def _files_in(folder: Path) -> str:
    """A hint for who named a run folder."""
    config = folder / CONFIG_FILE
    return did_you_mean([str(config)]) if config.is_file() else ""


def _type_name(value: object) -> str:
    names = {
        list: "a list",
        str: "plain text",
        int: "a number",
        float: "a number",
        bool: "true or false",
    }
    return names.get(type(value), type(value).__name__)
