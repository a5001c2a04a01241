"""Measure how the source reads: the floors of CONTRIBUTING, for each room and the whole package.

python benchmarks/house.py            a table; with --verbose also the functions and lines behind it
python benchmarks/house.py --check    a line for each floor that is broken, and exit code 1
"""

from __future__ import annotations

import argparse
import ast
import io
import sys
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

PACKAGE = Path(__file__).parents[1] / "lunet_cli"

# Where the numbers come from: TorchIO, import-linter and OLMo-core, measured by this script, have
# 5 to 11 ternaries and 8 to 18 comprehensions per 1,000 lines, a 95th percentile of 38 to 64 lines,
# and 1 to 12 % comments. The floors leave a little air above what the package reached.
MOST_TERNARIES_PER_1000 = 12.0
MOST_COMPREHENSIONS_PER_1000 = 22.0
LARGEST_COMPLEXITY = 10
MOST_COMPLEX_FUNCTIONS = 15
LONGEST_FUNCTION_P95 = 29
MOST_ARGUMENTS = 8
LEAST_COMMENT_PERCENT = 2.0
MOST_COMMENT_PERCENT = 6.0
MOST_UNTYPED_LINES = 10
# Here comes in what is not ours to type: YAML, and the states of torch's optimisers.
UNTYPED_BORDERS = (
    "config/document.py",
    "config/load.py",
    "engine/checkpoints/",
    "engine/runtimes/program_file.py",
    "engine/training/state.py",
)

T = TypeVar("T")
Function = ast.FunctionDef | ast.AsyncFunctionDef
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.match_case)


@dataclass
class Room:
    """What was counted in some files; sums of rooms are rooms."""

    lines: int = 0
    ternaries: int = 0
    comprehensions: int = 0
    comments: int = 0
    untyped_lines: list[str] = field(default_factory=list)
    function_lengths: list[int] = field(default_factory=list)
    complex_functions: list[str] = field(default_factory=list)
    crowded_functions: list[str] = field(default_factory=list)

    def add(self, other: Room) -> None:
        """Count what `other` has, too."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def per_1000(self, count: int) -> float:
        """`count` per 1,000 lines that are not blank."""
        return 1000 * count / max(1, self.lines)

    @property
    def comment_percent(self) -> float:
        """Lines that hold nothing but a comment, per 100 that are not blank."""
        return self.per_1000(self.comments) / 10

    @property
    def length_p95(self) -> int:
        """Lines that 95 % of the functions do not exceed."""
        if not self.function_lengths:
            return 0
        ordered = sorted(self.function_lengths)
        return ordered[int(0.95 * len(ordered))]


def measure(path: Path, package: Path) -> Room:
    """What one file holds."""
    text = path.read_text(encoding="utf-8")
    lines, nodes = text.splitlines(), list(ast.walk(ast.parse(text)))
    name = path.relative_to(package).as_posix()
    functions = [node for node in nodes if isinstance(node, Function)]
    room = Room(
        lines=_count(lines, str.strip),
        ternaries=_count(nodes, lambda node: isinstance(node, ast.IfExp)),
        comprehensions=_count(nodes, lambda node: isinstance(node, COMPREHENSIONS)),
        comments=_count(_comments(text), lambda token: token.line.lstrip().startswith("#")),
        function_lengths=list(map(_length, functions)),
    )
    for number, line in enumerate(lines, 1):
        if "dict[str, Any]" in line and not name.startswith(UNTYPED_BORDERS):
            room.untyped_lines.append(f"{name}:{number}: dict[str, Any]")
    for function in functions:
        where = f"{name}:{function.lineno}: {function.name}"
        if complexity(function) > LARGEST_COMPLEXITY:
            room.complex_functions.append(f"{where}: complexity {complexity(function)}")
        # A command has an argument for each of its options.
        if _num_arguments(function) > MOST_ARGUMENTS and not name.startswith("cli/"):
            room.crowded_functions.append(f"{where}: {_num_arguments(function)} arguments")
    return room


def complexity(function: Function) -> int:
    """McCabe's number; ternaries, operands of `and` and `or`, and comprehensions count too."""
    paths = 1
    for node in ast.walk(function):
        if isinstance(node, BRANCHES):
            paths += 1
        elif isinstance(node, ast.BoolOp):
            paths += len(node.values) - 1
        elif isinstance(node, COMPREHENSIONS):
            paths += len(node.generators) + sum(len(part.ifs) for part in node.generators)
    return paths


def measure_package(package: Path) -> dict[str, Room]:
    """The rooms of a package by name, two levels deep."""
    rooms: dict[str, Room] = {}
    for path in sorted(package.rglob("*.py")):
        name = "/".join(path.relative_to(package).parts[:-1][:2]) or "."
        rooms.setdefault(name, Room()).add(measure(path, package))
    return rooms


def whole(rooms: dict[str, Room]) -> Room:
    """All rooms as one."""
    total = Room()
    for room in rooms.values():
        total.add(room)
    return total


def broken_floors(total: Room) -> Iterator[str]:
    """A line for each floor that the package is below."""
    figures = (
        ("ternaries per 1,000 lines", total.per_1000(total.ternaries), MOST_TERNARIES_PER_1000),
        (
            "comprehensions per 1,000 lines",
            total.per_1000(total.comprehensions),
            MOST_COMPREHENSIONS_PER_1000,
        ),
        (
            f"functions over complexity {LARGEST_COMPLEXITY}",
            len(total.complex_functions),
            MOST_COMPLEX_FUNCTIONS,
        ),
        ("95th percentile of function length", total.length_p95, LONGEST_FUNCTION_P95),
        (f"functions with more than {MOST_ARGUMENTS} arguments", len(total.crowded_functions), 0),
        ("lines with dict[str, Any]", len(total.untyped_lines), MOST_UNTYPED_LINES),
        ("comment lines in percent", total.comment_percent, MOST_COMMENT_PERCENT),
    )
    for name, found, most in figures:
        if found > most:
            yield f"{name}: {found:.4g}, at most {most:g}"
    if total.comment_percent < LEAST_COMMENT_PERCENT:
        yield (
            f"comment lines in percent: {total.comment_percent:.2f}, "
            f"at least {LEAST_COMMENT_PERCENT:g}"
        )


def print_table(rooms: dict[str, Room]) -> None:
    """A line for each room, and one for all."""
    print(f"{'room':26} lines  ternaries/k  comprehensions/k  comments %  complex  p95")
    for name, room in [*rooms.items(), ("TOTAL", whole(rooms))]:
        print(
            f"{name:26} {room.lines:5}  {room.per_1000(room.ternaries):11.1f}"
            f"  {room.per_1000(room.comprehensions):16.1f}  {room.comment_percent:10.1f}"
            f"  {len(room.complex_functions):7}  {room.length_p95:3}"
        )


def main() -> None:
    """Measure the package and print the table, or what is broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", nargs="?", type=Path, default=PACKAGE)
    parser.add_argument("--check", action="store_true", help="exit 1 if a floor is broken")
    parser.add_argument("--verbose", "-v", action="store_true", help="name functions and lines")
    arguments = parser.parse_args()
    rooms = measure_package(arguments.package)
    total = whole(rooms)
    if arguments.verbose:
        print("\n".join([*total.complex_functions, *total.crowded_functions, *total.untyped_lines]))
    broken = list(broken_floors(total))
    if arguments.check:
        sys.exit("\n".join(broken) or 0)
    print_table(rooms)
    print("\n".join(broken))


def _count(items: list[T], matches: Callable[[T], object]) -> int:
    return sum(1 for item in items if matches(item))


def _comments(text: str) -> list[tokenize.TokenInfo]:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return [token for token in tokens if token.type == tokenize.COMMENT]


def _length(function: Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def _num_arguments(function: Function) -> int:
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return len([argument for argument in named if argument.arg not in ("self", "cls")])


if __name__ == "__main__":
    main()
