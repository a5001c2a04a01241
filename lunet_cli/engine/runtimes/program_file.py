"""The door for `.pt2` files: `torch.export.load` would run code that some parts can hold."""

from __future__ import annotations

import io
import json
import pickle
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from lunet_cli.errors import CheckpointError
from lunet_cli.records.files import MOST_BYTES, require_file, require_stored_archive

# Compiled libraries would lie in data/aotinductor, pickled objects in data/constants/custom_obj_N.
_PARTS = re.compile(
    r"[^/]+/(?:data/weights/[\w.]+|data/constants/(?!custom_obj)[\w.]+"
    r"|data/sample_inputs/\w+\.pt|models/\w+\.json|extra/\w+\.json|\.data/\w+"
    r"|archive_format|archive_version|byteorder|version)"
)
_OPERATIONS = re.compile(
    r"torch\.ops\.aten\.(?!from_file)\w+\.\w+"
    r"|_operator\.(?:add|sub|mul|floordiv|mod|neg|eq|ne|lt|le|gt|ge)|torch\.sym_(?:max|min|not)"
)
# PyTorch gives sizes to sympify, and guards to exec: both evaluate Python. These words alone
# compute with sizes only.
_WORDS = re.compile(r"[A-Za-z_]\w*")
_SIZE_WORDS = {"Symbol", "Integer", "integer", "positive", "nonnegative"}
_SIZE_WORDS |= {"Add", "Mul", "Max", "Min", "Mod", "PythonMod", "FloorDiv", "CeilDiv", "CleanDiv"}
_SIZE_WORDS |= {"Eq", "Ne", "Lt", "Le", "Gt", "Ge", "Equality", "Unequality", "And", "Or", "Not"}
_SIZE_WORDS |= {"LessThan", "StrictLessThan", "GreaterThan", "StrictGreaterThan"}
_GUARD_WORDS = {"L", "image", "size", "min", "max", "and", "or", "not"}
_SYMBOL = re.compile(r"[su]\d{1,6}|True|False")
_MOST_DIGITS = re.compile(r"\d{19}")
_UNUSUAL = re.compile(r"\*\*|[:;=@\\{}\"`]")


def require_no_code(path: Path) -> None:
    """Refuse a file that holds more than tensors and a graph of tensor operations.

    Raises:
        CheckpointError: It holds something that PyTorch would run, or is not such an archive.
    """
    require_file(path, error=CheckpointError)
    require_stored_archive(path, what="torch-export file", error=CheckpointError)
    try:
        with zipfile.ZipFile(path) as archive:
            for part in archive.infolist():
                _require_harmless(archive, part)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: holds more than tensors and a graph ({error}); it was not loaded",
            hint="Such a file can run any code when it is opened.",
        ) from None
    # zipfile, json and torch.load raise anything on damaged bytes.
    except Exception as error:
        raise CheckpointError(
            f"{path}: is damaged or not a torch-export file ({str(error)[:200]})"
        ) from None


def read_extra_text(path: Path, name: str) -> str:
    """An extra file in a program that `require_no_code` has let pass; empty if it is not there.

    Raises:
        CheckpointError: It is not text.
    """
    with zipfile.ZipFile(path) as archive:
        # The folder in front is called as the file was when it was written.
        found = [part for part in archive.namelist() if part.endswith(f"/extra/{name}")]
        if not found:
            return ""
        try:
            return archive.read(found[0]).decode()
        except UnicodeDecodeError as error:
            raise CheckpointError(
                f"{path}: is damaged or not a torch-export file ({error})"
            ) from None


def _require_harmless(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> None:
    if not _PARTS.fullmatch(part.filename):
        raise pickle.UnpicklingError("it has parts of another kind")
    if part.filename.endswith(".pt") and part.file_size:
        torch.load(io.BytesIO(archive.read(part)), weights_only=True)
    if not part.filename.endswith(".json"):
        return
    if part.file_size > MOST_BYTES:
        raise ValueError(f"a part is larger than {MOST_BYTES >> 20} MiB")
    values = json.loads(archive.read(part))
    for mapping in _mappings(values):
        _require_harmless_values(mapping)


def _require_harmless_values(values: dict[str, Any]) -> None:
    if values.get("use_pickle"):
        raise pickle.UnpicklingError("its weights are pickled")
    size = values.get("expr_str")
    if size is not None and not _is_size(size):
        raise pickle.UnpicklingError("a size is not an expression of sizes")
    guards = values.get("guards_code") or ()
    if not all(map(_is_guard, guards)):
        raise pickle.UnpicklingError("a guard is not a comparison of sizes")
    is_node = "target" in values and "inputs" in values
    if is_node and not _is_operation(values["target"]):
        raise pickle.UnpicklingError("an operation is not one on tensors")


def _is_size(text: object) -> bool:
    # Symbols say that they are positive integers: Symbol('s0', positive=True, integer=True).
    return isinstance(text, str) and _has_only(text.replace("=True", ""), _SIZE_WORDS)


def _is_guard(text: object) -> bool:
    # Comparisons are harmless, and `=` alone is not.
    return isinstance(text, str) and _has_only(re.sub(r"[<>=!]=", "<", text), _GUARD_WORDS)


def _is_operation(text: object) -> bool:
    return isinstance(text, str) and _OPERATIONS.fullmatch(text) is not None


def _has_only(text: str, words: set[str]) -> bool:
    """Whether an expression consists of these words, symbols, small numbers and arithmetic."""
    if _UNUSUAL.search(text) or _MOST_DIGITS.search(text):
        return False
    return all(word in words or _SYMBOL.fullmatch(word) for word in _WORDS.findall(text))


def _mappings(values: object) -> Iterator[dict[str, Any]]:
    """All mappings within values of JSON."""
    waiting = [values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
