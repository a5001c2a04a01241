"""Errors of a volume on its way through a network, which say which volume it was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from lunet_cli.errors import DataError

# On a GPU, PyTorch raises a kind of its own. On a CPU it raises a plain RuntimeError, as do oneDNN,
# cuDNN, OpenVINO and SimpleITK: these are the words of their allocators.
_WORDS_OF_ALLOCATORS = ("out of memory", "allocate memory", "bad_alloc", "ALLOC_FAILED")


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice; any other is a bug."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(word in text for word in _WORDS_OF_ALLOCATORS)


@contextlib.contextmanager
def errors_of(source: object, *named: object) -> Iterator[None]:
    """Let errors of a predictor, which knows no files, say which volume it is.

    Args:
        source: The volume.
        named: Other files that an error of theirs names.

    Raises:
        DataError: With the name of `source` in front; lack of memory becomes one of them.
    """
    try:
        yield
    except DataError as error:
        if error.message.startswith(tuple(f"{name}:" for name in (source, *named))):
            raise
        raise DataError(f"{source}: {error.message}", hint=error.hint) from None
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        lines = str(error).strip().splitlines()
        reason = lines[0] if lines else "out of memory"
        raise DataError(
            f"{source}: {reason}",
            hint="Is it too large? Try `max_memory_mib`, or a smaller `batch_size` or `window`.",
        ) from error
