"""Groups of cases by a regular expression on their names.

A pattern such as `(a+)+b` needs time that doubles with each letter of the name, and Python's engine
cannot be told to stop. The search therefore runs in a process of its own that is ended after some
seconds: any pattern may be written, nothing has to be installed, and nobody waits. (An engine with
linear time, such as re2, has no look-around; refusing nested repetitions would refuse patterns that
work, and miss others.)
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from collections.abc import Sequence

from lunet_cli.errors import ConfigError

LONGEST_PATTERN = 200
# An honest pattern takes microseconds for a name; on a busy machine, Python needs up to a second
# to start.
_PATIENCE_SECONDS = 5.0
_SEARCH = """\
import json, re, sys
pattern, names = json.load(sys.stdin)
found = [re.search(pattern, name) for name in names]
json.dump([match and match[1] for match in found], sys.stdout)
"""


def checked_pattern(pattern: str) -> str:
    """Return `pattern` if it compiles and has a group.

    Raises:
        ValueError: It does not.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # What Python finds ambiguous is a mistake here.
            groups = re.compile(pattern).groups
    except (re.error, OverflowError, RecursionError, Warning) as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    if groups < 1:
        raise ValueError("the pattern has no group (...) to take the name from")
    return pattern


def group_names(pattern: str, case_ids: Sequence[str]) -> list[str]:
    """What the first group of `pattern` matches in each case id.

    Raises:
        ConfigError: It matches nothing in one of them, or the search takes too long.
    """
    # Isolated, so that neither the working folder nor PYTHONPATH brings another `re` or `json`.
    command = [sys.executable, "-I", "-c", _SEARCH]
    question = json.dumps([pattern, list(case_ids)]).encode()
    place = f"data.split.group_pattern: {pattern!r}"
    try:
        done = subprocess.run(
            command, input=question, capture_output=True, timeout=_PATIENCE_SECONDS, check=True
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(
            f"{place} takes too long on the case ids (more than {_PATIENCE_SECONDS:g} s)",
            hint="Repetitions within a repetition do that, such as (a+)+; write it without.",
        ) from None
    except subprocess.CalledProcessError:
        raise ConfigError(f"{place} cannot be searched for in the case ids") from None
    names: list[str | None] = json.loads(done.stdout)
    for case_id, name in zip(case_ids, names, strict=True):
        if name is None:
            raise ConfigError(f"{place} does not match case id '{case_id}'")
    return [str(name) for name in names]
