from __future__ import annotations

from lunet_cli.config.network import NetworkSpec
from lunet_cli.engine.benchmarking.complexity import Complexity
from lunet_cli.engine.benchmarking.memory import MIB, activation_mib
from lunet_cli.engine.inference.memory import activation_channels

SPEC = NetworkSpec("unet", (1, 2, 4))  # a stride of 4


def complexity(saved_values: int) -> Complexity:
    return Complexity(0, 0, 0, 0, 0, 0, saved_values)


def test_activations_of_a_padded_batch_by_hand() -> None:
    """Sizes count as padded to 8 x 8 x 4; bf16 takes half of fp32."""
    values = 2 * 8 * 8 * 4 * activation_channels(SPEC)
    shape = (2, 1, 5, 8, 1)
    assert activation_mib(SPEC, shape, "fp32", complexity(0)) == values * 4 / MIB
    assert activation_mib(SPEC, shape, "bf16", complexity(100)) == (values + 100) * 2 / MIB
