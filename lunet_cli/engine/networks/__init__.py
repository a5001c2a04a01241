"""Networks as `torch.nn.Module`s that return logits, built from a `NetworkSpec`."""

from lunet_cli.engine.networks.build import (
    build_meta_network,
    build_network,
    count_parameters,
    network_of_weights,
)

__all__ = ["build_meta_network", "build_network", "count_parameters", "network_of_weights"]
