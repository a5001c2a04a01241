"""Several processes that train one network, and what they tell each other.

A launcher such as torchrun starts them and says in the environment who they are; torch.distributed
carries what they say.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import psutil
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lunet_cli.errors import DeviceError, LunetError, TrainingError

Value = TypeVar("Value")
# The first process may prepare large volumes for hours while the others wait. A process that dies
# is not waited for: its connections break at once.
_PATIENCE = datetime.timedelta(days=2)
# How long those that are left look for the one that is gone.
_ROLL_CALL_SECONDS = 5.0
_PEER_WORDS = ("gloo", "connection", "broken pipe", "reset by peer", "nccl")


class ProcessLost(TrainingError):
    """Another process of the group has ended."""


class EndedElsewhere(SystemExit):
    """Another process of the group has failed, and tells why itself."""

    def __init__(self) -> None:
        super().__init__(1)


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of one training; the usual one is alone.

    All of them call the methods below in the same order.

    Args:
        rank: Which one this is, from 0.
        size: How many there are.
        members: Host and process number of each.
    """

    rank: int = 0
    size: int = 1
    members: tuple[tuple[str, int], ...] = ()

    @property
    def leads(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0

    def sum(self, value: Tensor) -> Tensor:
        """The sum over all processes; gradients flow back to all of them.

        They are those of the sum of what each process computes from it: where each computes the
        same loss, gradients are larger by the number of processes, and their mean over the
        processes, as DistributedDataParallel takes it, is the gradient of that loss.
        """
        if self.size == 1:
            return value
        total: Tensor = _Sum.apply(value)  # type: ignore[no-untyped-call]
        return total

    def largest(self, number: int) -> int:
        """The largest of the numbers that the processes have."""
        if self.size == 1:
            return number
        value = torch.tensor(number)
        with self.told_of_peers():
            dist.all_reduce(value, dist.ReduceOp.MAX)
        return int(value)

    def gathered(self, value: Value) -> list[Value]:
        """What each process has, in order."""
        if self.size == 1:
            return [value]
        found: list[Value | None] = [None] * self.size
        with self.told_of_peers():
            dist.all_gather_object(found, value)
        return found  # type: ignore[return-value]

    def from_first(self, find: Callable[[], Value]) -> Value:
        """What the first process finds; the others wait for it.

        Raises:
            LunetError: In the first process, what `find` raises.
            EndedElsewhere: In the others, then.
        """
        if self.size == 1:
            return find()
        found: list[Value | None] = [None]
        failed: list[bool] = [False]
        error: LunetError | None = None
        if self.leads:
            try:
                found = [find()]
            except LunetError as raised:
                error, failed = raised, [True]
        message = [(failed[0], found[0])]
        with self.told_of_peers():
            dist.broadcast_object_list(message, src=0)
        if error is not None:
            raise error
        if message[0][0]:
            raise EndedElsewhere
        return message[0][1]  # type: ignore[return-value]

    def one_before_others(self, act: Callable[[], Value]) -> Value:
        """What each process does for itself; the others begin when the first one is done.

        Raises:
            LunetError: What `act` raises.
            EndedElsewhere: It has failed in the first process.
        """
        done: list[Value] = []
        if self.leads:
            self.from_first(lambda: done.append(act()))
        else:
            self.from_first(lambda: None)
            done.append(act())
        return done[0]

    def share_buffers(self, network: nn.Module) -> None:
        """Take the statistics of a network from the first process."""
        if self.size == 1:
            return
        with self.told_of_peers():
            for buffer in network.buffers():
                dist.broadcast(buffer, src=0)

    @contextlib.contextmanager
    def told_of_peers(self) -> Iterator[None]:
        """Within the block, a process that is gone becomes an error that names it.

        Raises:
            ProcessLost: Another process has ended.
        """
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not _is_about_peers(error):
                raise
            raise ProcessLost(
                f"{self._missing()} of the {self.size} processes of this training has ended; "
                "the last whole state is kept",
                hint="What that process printed says why. Start all of them again with "
                "`resume=auto`.",
            ) from None

    def _missing(self) -> str:
        """Which process is gone, in words."""
        end = time.monotonic() + _ROLL_CALL_SECONDS
        while time.monotonic() < end:
            for rank, (host, number) in enumerate(self.members):
                if host == platform.node() and not _is_running(number):
                    return f"process {rank} (pid {number})"
            time.sleep(0.1)
        return "one"


ALONE = ProcessGroup()


class _Sum(torch.autograd.Function):
    """The sum over all processes, forward and backward."""

    @staticmethod
    def forward(_: Any, value: Tensor) -> Tensor:
        total = value.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(_: Any, grad: Tensor) -> Tensor:
        total = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


@contextlib.contextmanager
def joined_group() -> Iterator[ProcessGroup]:
    """Join the processes that a launcher has started together with this one.

    Yields:
        The group; of a single process without a launcher.

    Raises:
        DeviceError: There are more processes than GPUs, or the others cannot be reached.
    """
    size = os.environ.get("WORLD_SIZE", "")
    if size in ("", "1") or dist.is_initialized():
        yield _current_group()
        return
    take_own_gpu()
    # A kernel with one input channel has two layouts that are the same.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        dist.init_process_group(backend, timeout=_PATIENCE)
    except (ValueError, RuntimeError) as error:
        raise DeviceError(
            f"the {size} processes of WORLD_SIZE cannot be joined ({_first_line(error)})",
            hint="Let torchrun start them, which tells each where the others are.",
        ) from None
    try:
        yield _current_group()
    finally:
        with contextlib.suppress(RuntimeError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dist.destroy_process_group()


def processes_here() -> int:
    """How many processes of the group share this machine.

    Raises:
        DeviceError: The launcher's word is no number.
    """
    return max(1, _launchers_number("LOCAL_WORLD_SIZE", 1))


def _launchers_number(variable: str, default: int) -> int:
    value = os.environ.get(variable, "") or str(default)
    if not value.isdecimal():
        raise DeviceError(
            f"{variable}={value}: not a whole number",
            hint=f"Let torchrun set it, or unset {variable} for one process.",
        )
    return int(value)


def _current_group() -> ProcessGroup:
    if not (dist.is_available() and dist.is_initialized()):
        return ALONE
    group = ProcessGroup(dist.get_rank(), dist.get_world_size())
    members = group.gathered((platform.node(), os.getpid()))
    return replace(group, members=tuple(members))


def _is_running(number: int) -> bool:
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def take_own_gpu() -> None:
    """Compute on the GPU that belongs to this process, if there are GPUs.

    Raises:
        DeviceError: There are more processes than GPUs, or the launcher's word is no number.
    """
    if not torch.cuda.is_available():
        return
    rank, number = _launchers_number("LOCAL_RANK", 0), torch.cuda.device_count()
    if rank >= number:
        raise DeviceError(
            f"LOCAL_RANK={rank}: this machine has {number} GPU(s), one for each process",
            hint=f"Let torchrun start no more than {number} here.",
        )
    torch.cuda.set_device(rank)


def _is_about_peers(error: RuntimeError) -> bool:
    """Whether a collective failed because of another process, and not of what this one computes."""
    text = str(error).lower()
    return isinstance(error, dist.DistError) or any(word in text for word in _PEER_WORDS)


def _first_line(error: Exception) -> str:
    first, *_ = str(error).strip().splitlines() or ["no reason given"]
    return first
