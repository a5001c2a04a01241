"""What a runtime is, which ones there are, and which of them this machine has."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product

from lunet_cli.config.vocabulary import (
    PRECISIONS,
    DeviceName,
    Precision,
    PrecisionChoice,
    RuntimeChoice,
    RuntimeName,
)
from lunet_cli.engine.networks.execution import half_precisions, has_precision, resolve_device
from lunet_cli.engine.runtimes.exported_graph import (
    RUNTIMES_OF_FORMAT,
    ExportedGraph,
    Forward,
    Network,
)
from lunet_cli.errors import ConfigError, DeviceError, MissingDependencyError


@dataclass(frozen=True)
class RuntimePlan:
    """How a trained network is computed.

    Args:
        runtime: `eager` is PyTorch as it comes; `torch` takes what is exact and faster within
            PyTorch.
        device: `cpu`, `cuda` or `mps`.
        precision: Arithmetic of the convolutions; images and logits are fp32.
    """

    runtime: RuntimeName
    device: str
    precision: Precision

    def __str__(self) -> str:
        return f"{self.runtime} {self.precision} on {self.device}"

    def fits(self, network: Network) -> bool:
        """Whether the runtime has this device and precision, and can compute the network."""
        if self.runtime not in runtimes_of(network) or self.obstacle():
            return False
        is_fixed = isinstance(network, ExportedGraph) and network.format == "torch-export"
        return self.precision == "fp32" or not is_fixed

    def obstacle(self) -> str:
        """Why the runtime has not this device or precision; empty if it has."""
        traits = _TRAITS[self.runtime]
        if traits.is_cpu_only and self.device != "cpu":
            return f"computes on the CPU here, not on {self.device}"
        if self.precision not in traits.precisions:
            return f"computes in {' or '.join(traits.precisions)} on a CPU, not in {self.precision}"
        return ""


@dataclass(frozen=True, kw_only=True)
class _Traits:
    """What a runtime needs and has.

    Args:
        load: Makes a network ready; imports its packages when it is called.
        packages: What must be installed.
        precisions: Arithmetic that it has, wherever the device has it.
        is_cpu_only: Whether it computes on the CPU alone here.
        can_train: Whether a training can take it.
        is_tried: Whether `auto` tries it; compilation takes longer than most predictions.
        memory_mib: What its exporters and compilers add to a process, as measured.
    """

    load: Callable[[RuntimePlan, Network], Forward]
    packages: tuple[str, ...] = ()
    precisions: tuple[Precision, ...] = PRECISIONS
    is_cpu_only: bool = False
    can_train: bool = False
    is_tried: bool = False
    memory_mib: float = 0.0


def _load_torch(plan: RuntimePlan, network: Network) -> Forward:
    from lunet_cli.engine.runtimes.torch_runtime import load_torch

    return load_torch(plan.runtime, plan.device, plan.precision, network)


def _load_onnx(_: RuntimePlan, network: Network) -> Forward:
    from lunet_cli.engine.runtimes.onnx_runtime import load_onnx

    return load_onnx(network)


def _load_openvino(plan: RuntimePlan, network: Network) -> Forward:
    from lunet_cli.engine.runtimes.openvino_runtime import load_openvino

    return load_openvino(network, plan.precision)


# The usual one first.
_TRAITS: dict[RuntimeName, _Traits] = {
    "torch": _Traits(load=_load_torch, can_train=True, is_tried=True),
    "eager": _Traits(load=_load_torch, can_train=True),
    "torch-compile": _Traits(load=_load_torch, can_train=True, memory_mib=450.0),
    "onnx": _Traits(
        load=_load_onnx,
        packages=("onnxruntime", "onnx", "onnxscript"),
        precisions=("fp32",),
        is_cpu_only=True,
        is_tried=True,
        memory_mib=350.0,
    ),
    "openvino": _Traits(
        load=_load_openvino,
        packages=("openvino",),
        precisions=("fp32", "bf16"),
        is_cpu_only=True,
        is_tried=True,
        memory_mib=450.0,
    ),
}
RUNTIMES_OF_NETWORKS = tuple(_TRAITS)
RUNTIMES_THAT_TRAIN = tuple(name for name, traits in _TRAITS.items() if traits.can_train)


def load_runtime(plan: RuntimePlan, network: Network) -> Forward:
    """Make a network ready to be computed as `plan` says.

    Args:
        plan: How.
        network: A network in evaluation mode, or an exported file; it is not changed.

    Returns:
        A function from images (B, C, D, H, W), float32 on the CPU, to logits (B, K, D, H, W) on the
        device of the plan. It takes any size; some runtimes prepare for each new one.

    Raises:
        ConfigError: The runtime cannot compute this file, device or precision.
        MissingDependencyError: The runtime is not installed.
    """
    require_fitting(plan, network)
    return _TRAITS[plan.runtime].load(plan, network)


def memory_mib(runtime: RuntimeChoice) -> float:
    """What a runtime adds to the memory of a process; `auto` adds what all that it tries do."""
    if runtime != "auto":
        return _TRAITS[runtime].memory_mib
    return sum(traits.memory_mib for traits in _TRAITS.values() if traits.is_tried)


def runtimes_of(network: Network) -> tuple[RuntimeName, ...]:
    """The runtimes that can compute a network or exported file, the usual one first."""
    if isinstance(network, ExportedGraph):
        return RUNTIMES_OF_FORMAT[network.format]
    return RUNTIMES_OF_NETWORKS


def device_for(runtime: RuntimeChoice, choice: DeviceName) -> str:
    """The device to compute on; `auto` takes the CPU for a runtime that has no other.

    Raises:
        DeviceError: The named device is not available.
    """
    if choice == "auto" and runtime != "auto" and _TRAITS[runtime].is_cpu_only:
        return "cpu"
    return resolve_device(choice)


def is_installed(runtime: RuntimeName) -> bool:
    """Whether the packages of a runtime are there."""
    return not _missing(_TRAITS[runtime].packages)


def require_installed(runtime: RuntimeName) -> None:
    """Raise if a runtime is not installed.

    Raises:
        MissingDependencyError: It is not.
    """
    require_packages(runtime, *_TRAITS[runtime].packages)


def require_packages(extra: str, *packages: str) -> None:
    """Raise if packages of an extra are not installed.

    Raises:
        MissingDependencyError: One is not; the hint names the extra.
    """
    missing = _missing(packages)
    if missing:
        raise MissingDependencyError(
            f"{extra}: needs {', '.join(missing)}, which this environment lacks",
            hint=f'Install the extra: pip install "lunet[{extra}]"',
        )


def _missing(packages: Iterable[str]) -> list[str]:
    return [package for package in packages if find_spec(package) is None]


def candidate_plans(network: Network, device: str, precision: PrecisionChoice) -> list[RuntimePlan]:
    """The ways to compute a network that are worth a try here, the most ordinary first."""
    if precision == "auto":
        precisions: tuple[Precision, ...] = ("fp32", *half_precisions(device)[:1])
    elif has_precision(device, precision):
        precisions = (precision,)
    else:
        precisions = ()
    plans = []
    for name, kind in product(runtimes_of(network), precisions):
        plan = RuntimePlan(name, device, kind)
        if _TRAITS[name].is_tried and is_installed(name) and plan.fits(network):
            plans.append(plan)
    return plans


def require_fitting(plan: RuntimePlan, network: Network) -> None:
    """Raise if a runtime cannot compute a network as planned.

    Raises:
        ConfigError: It cannot compute this file, or not in this precision.
        DeviceError: It has not this device or precision.
        MissingDependencyError: It is not installed.
    """
    possible = runtimes_of(network)
    if plan.runtime not in possible:
        assert isinstance(network, ExportedGraph)
        raise ConfigError(
            f"{network.path}: cannot be computed by the runtime {plan.runtime}",
            hint=f"Possible: {', '.join(possible)}",
        )
    require_installed(plan.runtime)
    if plan.obstacle():
        raise DeviceError(
            f"runtime {plan.runtime}: {plan.obstacle()}",
            hint="The runtime torch computes in all of them.",
        )
    if not plan.fits(network):
        raise ConfigError(f"{network.path}: its precision is fixed", hint="Leave out `precision`.")
