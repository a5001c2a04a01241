"""A process that has loaded everything and forks one child per command, to kill hundreds.

Reads one JSON object per line, `{"arguments": [...], "log": FILE, "kill": PLAN or null}`, runs
`lunet` with the arguments in a child, and answers `{"status": ..., "seconds": ...}`: the exit code,
or minus the signal.

PLAN is `{"signal": NUMBER, "after": SECONDS}`, or names a moment: `{"signal": NUMBER, "moment":
MOMENT, "count": K}` for the K-th time that MOMENT comes. It is `call MODULE:FUNCTION`, or about
files that are written whole or not at all: `torn NAME` (half of it is in the temporary file),
`before NAME` (it is whole and not yet moved) or `after NAME`.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

LOADED = (
    "lunet_cli.cli.app",
    "lunet_cli.cli.viz.display",
    "lunet_cli.engine.evaluation.evaluate",
    "lunet_cli.engine.evaluation.score",
    "lunet_cli.engine.inference.predict",
    "lunet_cli.engine.training.train",
    "lunet_cli.render.console",
    "lunet_cli.render.curves",
    "lunet_cli.render.figures.curves",
    "lunet_cli.render.figures.slices",
    "lunet_cli.render.figures.style",
    "lunet_cli.render.progress",
    "lunet_cli.render.tables",
    "matplotlib.backends.backend_agg",
    "torch._dynamo",
)


def main() -> None:
    for name in LOADED:
        importlib.import_module(name)
    print("ready", flush=True)
    for line in sys.stdin:
        task = json.loads(line)
        start = time.monotonic()
        pid = os.fork()
        if pid == 0:
            play(task)
        status = wait_for(pid, task["kill"])
        print(json.dumps({"status": status, "seconds": time.monotonic() - start}), flush=True)


def wait_for(pid: int, plan: dict[str, Any] | None) -> int:
    """Wait for the child, and kill it in time if that is the plan."""
    if plan is not None and "after" in plan:
        end = time.monotonic() + plan["after"]
        while time.monotonic() < end:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.002)
        os.kill(pid, plan["signal"])
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def play(task: dict[str, Any]) -> None:
    """Be the command; does not return."""
    log = os.open(task["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    code = 1
    try:
        if task["kill"] is not None and "moment" in task["kill"]:
            wait_in_ambush(**task["kill"])
        sys.argv = ["lunet", *task["arguments"]]
        sys.modules["lunet_cli.cli.app"].main()
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait_in_ambush(signal: int, moment: str, count: int) -> None:
    """Let this process send itself the signal when the moment has come so often."""
    kind, _, name = moment.partition(" ")
    left = count

    def comes() -> bool:
        nonlocal left
        left -= 1
        return left == 0

    def strike() -> None:
        os.kill(os.getpid(), signal)

    if kind == "call":
        module, _, function = name.partition(":")
        owner = sys.modules[module]
        setattr(owner, function, struck(comes, strike, getattr(owner, function)))
    elif kind == "torn":
        watch_fsync(name, comes, strike)
    else:
        watch_replace(kind, name, comes, strike)


def struck(
    comes: Callable[[], bool], strike: Callable[[], None], function: Callable[..., Any]
) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        if comes():
            strike()
        return function(*arguments, **options)

    return call


def watch_fsync(name: str, comes: Callable[[], bool], strike: Callable[[], None]) -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        is_it = path.name == name or path.name.startswith(f".{name}.")
        if is_it and comes():
            os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
            strike()
        real(descriptor)

    os.fsync = fsync


def watch_replace(
    kind: str, name: str, comes: Callable[[], bool], strike: Callable[[], None]
) -> None:
    real = os.replace

    def replace(source: str | Path, target: str | Path) -> None:
        is_it = Path(target).name == name and comes()
        if is_it and kind == "before":
            strike()
        real(source, target)
        if is_it and kind == "after":
            strike()

    os.replace = replace


if __name__ == "__main__":
    # As in a terminal, even if these tests run under nohup or behind a shell.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    main()
