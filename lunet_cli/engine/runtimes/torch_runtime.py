"""PyTorch as a runtime: as it comes, compiled, or with what is exact and faster.

For one window with few channels PyTorch takes a convolution of its own instead of oneDNN's, which
is several times faster. On a CPU in fp32, `torch` therefore folds the normalisation away and calls
oneDNN itself, with weights laid out in its order. In half precision PyTorch takes oneDNN by itself,
and the network runs as it was validated; so does MedNeXt, whose normalisation cannot be folded and
whose depthwise convolutions gain nothing from oneDNN.
"""

from __future__ import annotations

import contextlib
import copy
import locale
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass

from lunet_cli.config.vocabulary import Precision, RuntimeName
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.execution import ExecutionPlan, prefers_channels_last
from lunet_cli.engine.runtimes.exported_graph import METADATA_KEY, ExportedGraph
from lunet_cli.engine.runtimes.folding import FoldedNetwork, can_fold
from lunet_cli.engine.runtimes.program_file import read_extra_text, require_no_code
from lunet_cli.engine.runtimes.tracing import quiet
from lunet_cli.errors import CheckpointError, DeviceError

Forward = Callable[[Tensor], Tensor]
METADATA_FILE = f"{METADATA_KEY}.json"


def load_torch(
    name: RuntimeName,
    device: str,
    precision: Precision,
    network: SegmentationNetwork | ExportedGraph,
) -> Forward:
    """See `load_runtime`."""
    if isinstance(network, ExportedGraph):
        return _load_program(network, device)
    network = copy.deepcopy(network).eval().requires_grad_(False)
    # A window of one sample and in the plain layout, as a user of PyTorch would write it, is what
    # others compare with.
    layout = name != "eager" and prefers_channels_last(network.spec, device, precision)
    plan = ExecutionPlan(device, precision, layout, compile=name == "torch-compile")
    if name == "torch" and device == "cpu" and precision == "fp32" and can_fold(network):
        network = FoldedNetwork(network)
        _call_onednn(network)
    network = plan.place(network)
    compute: Forward = network
    if plan.compile:
        compute = _compiled(network)

    def forward(image: Tensor) -> Tensor:
        with plan.autocast():
            return compute(plan.place_image(image))

    return forward


class _OneDnnConvolution(nn.Module):
    """A convolution by oneDNN, whatever PyTorch would choose.

    References:
        `use_mkldnn` in PyTorch's aten/src/ATen/native/Convolution.cpp asks for a batch or for many
        channels and rows.
    """

    def __init__(self, convolution: nn.Conv3d) -> None:
        super().__init__()
        assert convolution.bias is not None
        self.weight = nn.Buffer(convolution.weight.detach())
        self.bias = nn.Buffer(convolution.bias.detach())
        self.geometry = (
            convolution.padding,
            convolution.stride,
            convolution.dilation,
            convolution.groups,
        )

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = torch.ops.aten.mkldnn_convolution(
            x, self.weight, self.bias, *self.geometry
        )
        return output


class _Doubling(nn.Module):
    """A transposed convolution with kernel and stride 2 as a matrix product.

    It keeps the layout of its neighbours; PyTorch's own gives the plain layout, and what follows
    has to be copied.
    """

    def __init__(self, convolution: nn.ConvTranspose3d) -> None:
        super().__init__()
        assert convolution.bias is not None
        weight = convolution.weight.detach().permute(0, 2, 3, 4, 1)  # input, z, y, x, output
        self.weight = nn.Buffer(weight.flatten(1).contiguous())
        self.bias = nn.Buffer(convolution.bias.detach().repeat(8))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, depth, height, width = x.shape
        rows = x.permute(0, 2, 3, 4, 1).reshape(-1, channels)
        doubled = torch.addmm(self.bias, rows, self.weight).view(
            batch, depth, height, width, 2, 2, 2, -1
        )
        doubled = doubled.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(
            batch, 2 * depth, 2 * height, 2 * width, -1
        )
        return doubled.permute(0, 4, 1, 2, 3)


def _call_onednn(network: nn.Module) -> None:
    if not torch.backends.mkldnn.is_available():
        return
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.Conv3d):
            network.set_submodule(name, _OneDnnConvolution(module))
        elif isinstance(module, nn.ConvTranspose3d):
            network.set_submodule(name, _Doubling(module))


def _compiled(network: SegmentationNetwork) -> Forward:
    with _utf8_files():
        from torch._inductor import config as inductor

        compute = torch.compile(network, dynamic=False)

    def run(image: Tensor) -> Tensor:
        try:
            # Frozen weights let the compiler take oneDNN's convolutions and fuse what follows them.
            # It freezes outside of inference mode only, and heeds this setting while it compiles,
            # not as an option of torch.compile.
            with (
                torch.inference_mode(mode=False),
                torch.no_grad(),
                inductor.patch(freezing=True),
                _utf8_files(),
            ):
                logits: Tensor = compute(image)
            return logits
        except RuntimeError as error:
            if "ompile" not in type(error).__name__ and "Inductor" not in type(error).__name__:
                raise
            reason = str(error).strip().splitlines()[0]
            raise DeviceError(
                f"runtime torch-compile: the network cannot be compiled here ({reason})",
                hint="It needs a C++ compiler on a CPU, Triton on CUDA. "
                "The runtime torch needs neither.",
            ) from error

    return run


@contextlib.contextmanager
def _utf8_files() -> Iterator[None]:
    """Read text as UTF-8, as the compiler expects it.

    ITK may have set another locale, which Python follows.
    """
    before = locale.setlocale(locale.LC_CTYPE)
    with contextlib.suppress(locale.Error):
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    try:
        yield
    finally:
        locale.setlocale(locale.LC_CTYPE, before)


def read_program_metadata(path: Path) -> str:
    """What lunet wrote about the network; empty if the file is not of lunet."""
    require_no_code(path)
    return read_extra_text(path, METADATA_FILE)


def read_program_weights(path: Path) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Name and value of the parameters, buffers and constant tensors of a file."""
    program = _read_program(path)
    for name, value in {**program.state_dict, **program.constants}.items():
        if isinstance(value, Tensor):
            yield name, value.detach().numpy()


def _load_program(graph: ExportedGraph, device: str) -> Forward:
    # The graph holds for every size. Its guards ask for relations that only the size it was traced
    # with must have.
    program = move_to_device_pass(_read_program(graph.path), device).module(check_guards=False)

    def forward(image: Tensor) -> Tensor:
        logits: Tensor = program(image.to(device))
        return logits

    return forward


def _read_program(path: Path) -> ExportedProgram:
    require_no_code(path)
    try:
        with quiet():
            return torch.export.load(path)
    # On damaged archives it raises anything, from KeyError to errors of its schema.
    except Exception as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise CheckpointError(
            f"{path}: is damaged or not a torch-export file ({reason[:200]})"
        ) from None
