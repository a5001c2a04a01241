"""Networks as `torch.nn.Module`s that return logits, built from a `NetworkSpec`."""

from lunet_cli.engine.networks.build import build_network, count_parameters

__all__ = ["build_network", "count_parameters"]
