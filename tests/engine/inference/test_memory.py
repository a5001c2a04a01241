"""The estimate beside what processes really take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lunet_cli.engine.networks.execution import has_native_bf16

SCRIPT = """
import sys, torch, SimpleITK as sitk
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from lunet_cli.config.layers import layers, with_layers
from lunet_cli.config.presets import parse_preset
from lunet_cli.engine.checkpoints.checkpoint import ModelCard
from lunet_cli.engine.checkpoints.models import Model
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.preprocessing import Normalization, Preprocessing
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.config.options import PredictionOptions
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.engine.networks import build_network

name, window, precision, edge = sys.argv[1:]
torch.set_num_threads(1)
scheme = LabelScheme((("a", (1,)), ("b", (2,))), "softmax")
name, _, pruned = name.partition(":")
spec = replace(parse_preset(name).spec, out_channels=3)
names = [layer for layer in layers(spec) if fnmatch(layer.name, pruned)]
spec = with_layers(spec, widths={layer.name: -(-layer.width // 4) for layer in names})
preprocessing = Preprocessing("LPS", None, Normalization("zscore", 40, 400))
card = ModelCard(spec, scheme, preprocessing, (64, 64, 64))
model = Model(Path("x"), card, build_network(spec).eval(), (64, 64, 64), name, None, None)
chosen = window if window in ("whole", "stream") else None
options = PredictionOptions(window=chosen, device="cpu", precision=precision)
predictor = Predictor([model], options)
image = sitk.Image([int(edge)] * 3, sitk.sitkInt16)
predictor.segment([image])
plan = predictor.plan_windows(Geometry.of(image))
# Not ru_maxrss, which begins with that of the process that started this one.
status = Path("/proc/self/status").read_text().splitlines()
peak = next(line for line in status if line.startswith("VmHWM"))
print(plan.memory.total_mib, int(peak.split()[1]) / 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc"
)
@pytest.mark.parametrize(
    ("name", "window", "precision", "edge"),
    [
        ("lunet_small_4f", "64", "fp32", 160),
        ("lunet_small_4f", "whole", "fp32", 128),
        ("lunet_small_1f", "whole", "bf16", 160),
        ("unet_large_6f", "whole", "fp32", 96),
        ("lunetpp_small_4f", "whole", "fp32", 112),
        ("mednext_small", "whole", "fp32", 112),
        # Of these layers, pruning has left a quarter.
        ("mednext_small:streams.*", "whole", "fp32", 112),
        ("unet_large_6f:encoders.*", "whole", "fp32", 96),
        ("unet_large_6f:*", "whole", "fp32", 128),
        ("lunet_small_4f", "stream", "bf16", 256),
        ("lunetpp_small_4f", "stream", "fp32", 192),
    ],
)
def test_estimate_covers_what_is_taken(name: str, window: str, precision: str, edge: int) -> None:
    if precision == "bf16" and not has_native_bf16():
        pytest.skip("without instructions for bf16, this takes many minutes")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, name, window, precision, str(edge)],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    estimated, taken = map(float, done.stdout.split())
    # The memory that allocators keep varies by a tenth from run to run.
    assert 0.8 * taken <= estimated <= 2 * taken
