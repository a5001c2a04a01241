"""Write the preset table and the table of configuration keys into README.md; `--check` only compares.

python docs/tables.py [--check]
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from lunet_cli.config.network import count_conv_flops, count_parameters
from lunet_cli.config.presets import named_presets
from lunet_cli.config.run import RunConfig

README = Path(__file__).parents[1] / "README.md"


def preset_table() -> str:
    """The named presets as a Markdown table."""
    head = "| preset | levels | channels per level | convs per block | parameters | conv GFLOP at 64^3 |"
    rows = [
        f"| `{p.name}` | {p.spec.num_levels} | {' '.join(map(str, p.spec.channels))} | {p.spec.convs_per_block} "
        f"| {count_parameters(p.spec):,} | {count_conv_flops(p.spec) / 1e9:.3f} |"
        for p in named_presets()
    ]
    return "\n".join([head, "|---|--:|---|--:|--:|--:|", *rows])


def key_table() -> str:
    """All configuration keys as a Markdown table."""
    return "\n".join(["| key | default | meaning |", "|---|---|---|", *_key_rows(RunConfig, "")])


def updated(text: str) -> str:
    """`text` with both tables as they must be."""
    for name, table in (("presets", preset_table()), ("keys", key_table())):
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        text, count = pattern.subn(
            lambda match, table=table: f"{match[1]}{table}\n{match[2]}", text
        )
        if count != 1:
            sys.exit(f"README.md: found {count} places for the table '{name}'")
    return text


def _key_rows(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _key_rows(field.annotation, f"{prefix}{name}.")
            continue
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        shown = (
            {None: "null", True: "true", False: "false"}.get(default, default)
            if _is_plain(default)
            else default
        )
        yield f"| `{prefix}{name}` | `{shown}` | {' '.join((field.description or '').split())} |"


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, bool)


if __name__ == "__main__":
    old = README.read_text(encoding="utf-8")
    new = updated(old)
    if "--check" not in sys.argv:
        README.write_text(new, encoding="utf-8")
    elif old != new:
        sys.exit("README.md: its tables are out of date; run python docs/tables.py")
