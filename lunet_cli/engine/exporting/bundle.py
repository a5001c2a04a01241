"""A network as a MONAI bundle: a folder that `python -m monai.bundle run` executes.

The layout is that of https://docs.monai.io/en/stable/mb_specification.html. The network is a
program of PyTorch, so that nothing of lunet is needed; the script of docs/export.md is the inferer.
"""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path
from string import Template

from lunet_cli import __version__
from lunet_cli.engine.exporting import plain
from lunet_cli.records.export import ExportDescription
from lunet_cli.results.words import plural

NETWORK = Path("models/model.pt2")
_FACTS = f"{NETWORK}.json"
_PARTS = ("plain.py", "bundle_parts.py")
_EXPORTS = '''"""The parts of this bundle that are not MONAI's."""

from .bundle_parts import ExportedNetwork, VolumeInferer, find_images

__all__ = ["ExportedNetwork", "VolumeInferer", "find_images"]
'''


def write_bundle(folder: Path, described: ExportDescription) -> None:
    """Write what a bundle has around its network, which lies at `NETWORK` already."""
    source = Path(plain.__file__).parent
    for name in ("configs", "docs", "scripts"):
        (folder / name).mkdir()
    _write_json(folder / "configs/metadata.json", _metadata(described))
    _write_json(folder / "configs/inference.json", _inference(described))
    _write(folder / "docs/README.md", _guide(described))
    _write(folder / "scripts/__init__.py", _EXPORTS)
    for part in _PARTS:
        shutil.copyfile(source / part, folder / "scripts" / part)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _write_json(path: Path, values: dict[str, object]) -> None:
    _write(path, json.dumps(values, indent=2) + "\n")


def _metadata(described: ExportDescription) -> dict[str, object]:
    """What the specification asks for; images are given in the order of MONAI, x before z."""
    network, labels = described.network, described.label_values
    image = {
        "type": "image",
        "format": "magnitude",
        "num_channels": network.in_channels,
        "spatial_shape": ["*", "*", "*"],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
        "channel_def": {str(index): f"channel {index}" for index in range(network.in_channels)},
    }
    names = {"0": "background"} | {str(value): name for name, value in labels.items()}
    prediction = {
        "type": "image",
        "format": "segmentation",
        "num_channels": 1,
        "spatial_shape": ["*", "*", "*"],
        "dtype": "int32",
        "value_range": [0, max(labels.values())],
        "is_patch_data": False,
        "channel_def": names,
    }
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/"
        "0.8.1/meta_schema_20240725.json",
        "version": "1.0.0",
        "changelog": {"1.0.0": f"exported by lunet {__version__}"},
        "monai_version": "1.4.0",
        "pytorch_version": described.versions["torch"].split("+")[0],
        "numpy_version": described.versions["numpy"],
        "required_packages_version": {
            "SimpleITK": version("SimpleITK"),
            "nibabel": "5.0.0",
            "pytorch-ignite": "0.4.11",
            "fire": "0.5.0",
        },
        "name": described.architecture,
        "task": f"Segmentation of {', '.join(labels)}",
        "description": f"{described.architecture}, trained and exported by lunet {__version__}",
        "authors": "",
        "copyright": "",
        "intended_use": "Research; this is no medical device.",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": prediction}},
    }


def _inference(described: ExportDescription) -> dict[str, object]:
    largest = max(described.label_values.values())
    return {
        "imports": ["$import sys", "$import numpy", "$import torch"],
        "bundle_root": ".",
        "dataset_dir": "images",
        "output_dir": "$@bundle_root + '/eval'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": {
            "_target_": "scripts.ExportedNetwork",
            "path": f"$@bundle_root + '/{NETWORK}'",
            "device": "@device",
        },
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
            ],
        },
        "dataset": {
            "_target_": "Dataset",
            "data": {
                "_target_": "scripts.find_images",
                "folder": "@dataset_dir",
                "num_channels": described.network.in_channels,
            },
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1},
        "inferer": {
            "_target_": "scripts.VolumeInferer",
            "facts": f"$@bundle_root + '/{_FACTS}'",
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {
                    "_target_": "SaveImaged",
                    "keys": "pred",
                    "output_dir": "@output_dir",
                    "output_postfix": "seg",
                    "output_ext": ".nii.gz",
                    "output_dtype": f"$numpy.{'uint8' if largest < 256 else 'uint16'}",
                    "resample": False,
                    "separate_folder": False,
                }
            ],
        },
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network_def",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
        },
        # Before `scripts` is looked for, wherever the command was started.
        "initialize": ["$sys.path.insert(0, @bundle_root)"],
        "run": ["$@evaluator.run()"],
    }


def _guide(described: ExportDescription) -> str:
    rows = [f"| {value} | {name} |" for name, value in described.label_values.items()]
    template = Path(__file__).with_name("bundle_guide.md").read_text(encoding="utf-8")
    return Template(template).substitute(
        name=described.architecture,
        version=__version__,
        channels=plural(described.network.in_channels, "image channel"),
        labels="\n".join(rows),
    )
