from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from lunet_cli.config.network import NetworkSpec
from lunet_cli.engine.checkpoints.checkpoint import ModelCard
from lunet_cli.engine.checkpoints.models import Model
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.preprocessing import Normalization, Preprocessing
from lunet_cli.engine.networks import build_network


@pytest.fixture(scope="session")
def make_flowing(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Model]:
    """Make a network through which planes flow, with random weights, that finds each label."""
    path = tmp_path_factory.mktemp("model") / "model.pt"
    path.write_bytes(b"what tells it from other networks")

    def make(
        *,
        activation: str = "softmax",
        normalization: str = "zscore",
        orientation: str | None = "LPS",
        spacing_mm: tuple[float, float, float] | None = None,
        in_channels: int = 1,
    ) -> Model:
        torch.manual_seed(0)
        scheme = LabelScheme((("a", (1,)), ("b", (2,))), activation)
        spec = replace(
            NetworkSpec("lunet", (2, 2, 2), in_channels=in_channels),
            out_channels=scheme.num_channels,
        )
        network, noise = build_network(spec), torch.randn(1, in_channels, 32, 32, 32)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.momentum = 1.0
                nn.init.uniform_(module.weight, 1, 2)
        *_, bias = network.parameters()
        with torch.no_grad():
            network(noise)
            bias -= network.eval()(noise).mean(dim=(0, 2, 3, 4))
        kept = Normalization(normalization, 100.0, 120.0)
        card = ModelCard(spec, scheme, Preprocessing(orientation, spacing_mm, kept), (16, 16, 16))
        return Model(path, card, network, (16, 16, 16), spec.family, None, None)

    return make
