"""Forks processes that have loaded PyTorch already, as a server that the tests start once.

To load PyTorch takes seconds, and hundreds of tests want a process. What is forked has loaded our
modules, and nothing has been computed: from there on, it is a process as any other, with a folder,
output, signals and an exit code of its own.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from typing import Any

LOADED = (
    "lunet_cli.cli.train",
    "lunet_cli.engine.evaluation.evaluate",
    "lunet_cli.engine.inference.predict",
    "lunet_cli.engine.pruning.prune",
    "lunet_cli.engine.training.train",
)


def serve(address: str) -> dict[str, Any]:
    """Fork for each request until the tests end; return what the forked process is asked to do."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(address)
    server.listen()
    print("ready", flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # Nobody waits for those that wait.
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # A terminal sends it to all.
    while True:
        ready, _, _ = select.select([server, sys.stdin], [], [])
        if sys.stdin in ready:
            sys.exit()  # The tests have ended, however.
        connection, _ = server.accept()
        if os.fork() == 0:
            server.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            # What a shell starts in the background inherits that it is ignored.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            return fork_one(connection)
        connection.close()


def fork_one(connection: socket.socket) -> dict[str, Any]:
    """Fork a process, tell its number and how it ends; return in that process only."""
    request: dict[str, Any] = json.loads(connection.makefile().readline())
    number = os.fork()
    if number == 0:
        connection.close()
        return request
    connection.sendall(f"{number}\n".encode())
    _, status = os.waitpid(number, 0)
    connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def become(request: dict[str, Any]) -> None:
    """Take folder, arguments and output of a process that was asked for."""
    os.chdir(request["cwd"])
    sys.argv = request["argv"]
    for descriptor, path in enumerate((os.devnull, request["stdout"], request["stderr"])):
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, descriptor)
        os.close(opened)


if __name__ == "__main__":
    os.environ["GOMP_SPINCOUNT"] = "10000"  # As `lunet` does before it loads PyTorch.
    for name in LOADED:
        importlib.import_module(name)
    gc.freeze()
    asked = serve(sys.argv[1])
    become(asked)
    if asked["code"] is None:
        from lunet_cli.cli.app import main

        sys.exit(main())
    exec(compile(asked["code"], "<test>", "exec"), {"__name__": "__main__"})
