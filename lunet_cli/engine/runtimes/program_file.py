"""The door for `.pt2` files: `torch.export.load` would run code that some of their parts can hold."""

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
    r"[^/]+/(?:data/weights/[\w.]+|data/constants/(?!custom_obj)[\w.]+|data/sample_inputs/\w+\.pt|models/\w+\.json"
    r"|extra/\w+\.json|\.data/\w+|archive_format|archive_version|byteorder|version)"
)
_OPERATIONS = re.compile(
    r"torch\.ops\.aten\.(?!from_file)\w+\.\w+"
    r"|_operator\.(?:add|sub|mul|floordiv|mod|neg|eq|ne|lt|le|gt|ge)|torch\.sym_(?:max|min|not)"
)
# PyTorch gives sizes to sympify, and guards to exec: both evaluate Python. These words alone
# compute with sizes only.
_WORDS = re.compile(r"[A-Za-z_]\w*")
_SIZE_WORDS = frozenset(
    {
        *(
            "Symbol",
            "Integer",
            "integer",
            "positive",
            "nonnegative",
            "Add",
            "Mul",
            "Max",
            "Min",
            "Mod",
            "PythonMod",
        ),
        *(
            "FloorDiv",
            "CeilDiv",
            "CleanDiv",
            "Eq",
            "Ne",
            "Lt",
            "Le",
            "Gt",
            "Ge",
            "Equality",
            "Unequality",
            "LessThan",
        ),
        *("StrictLessThan", "GreaterThan", "StrictGreaterThan", "And", "Or", "Not"),
    }
)
_GUARD_WORDS = frozenset({"L", "image", "size", "min", "max", "and", "or", "not"})
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
    except Exception as error:  # zipfile, json and torch.load raise anything on damaged bytes
        raise CheckpointError(
            f"{path}: is damaged or not a torch-export file ({str(error)[:200]})"
        ) from None


def read_extra_text(path: Path, name: str) -> str:
    """An extra file in a program that `require_no_code` has let pass; empty if it is not there.

    Raises:
        CheckpointError: It is not text.
    """
    with zipfile.ZipFile(path) as archive:
        found = next((part for part in archive.namelist() if part.endswith(f"/extra/{name}")), None)
        try:
            return "" if found is None else archive.read(found).decode()
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
    if size is not None and not _is_size(
        size.replace("=True", "") if isinstance(size, str) else size, _SIZE_WORDS
    ):
        raise pickle.UnpicklingError("a size is not an expression of sizes")
    for guard in values.get("guards_code") or ():
        comparison = re.sub(r"[<>=!]=", "<", guard) if isinstance(guard, str) else guard
        if not _is_size(comparison, _GUARD_WORDS):
            raise pickle.UnpicklingError("a guard is not a comparison of sizes")
    if "target" in values and "inputs" in values:  # a node of the graph
        target = values["target"]
        if not isinstance(target, str) or not _OPERATIONS.fullmatch(target):
            raise pickle.UnpicklingError("an operation is not one on tensors")


def _is_size(text: object, words: frozenset[str]) -> bool:
    if not isinstance(text, str) or _UNUSUAL.search(text) or _MOST_DIGITS.search(text):
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
