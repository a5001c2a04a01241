"""The words that sections, options and jobs share: devices, precisions, runtimes, formats."""

from __future__ import annotations

from typing import Literal, get_args

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
"""Where to compute; `auto` takes CUDA, then MPS, then the CPU."""

Precision = Literal["fp32", "bf16", "fp16"]
"""Arithmetic of the convolutions."""
PrecisionChoice = Literal["auto", Precision]

RuntimeName = Literal["eager", "torch", "torch-compile", "onnx", "openvino"]
"""What computes a trained network; `eager` is PyTorch as it comes."""
RuntimeChoice = Literal["auto", RuntimeName]

SplitName = Literal["train", "val", "test", "all"]
"""Which cases of a data set."""

FileFormat = Literal["onnx", "openvino", "torch-export", "safetensors"]
"""Formats of a file with a network."""
ExportFormat = Literal[FileFormat, "html", "monai-bundle"]
"""The same, and what holds one of these files: `html` is a page that segments in a browser, with
one of ONNX; a MONAI bundle has a torch-export file."""
WeightPrecision = Literal["fp32", "fp16", "int8"]
"""How an exported file keeps its weights; `int8` computes in eight bits as well."""

VolumeSuffix = Literal[".nii.gz", ".nii", ".nrrd", ".mha"]
"""Ends of the names of volumes that can be written."""
OutputSuffix = Literal[".nii.gz", ".nii", ".nrrd", ".mha", ".dcm"]
"""The same for predictions: `.dcm` is a DICOM segmentation."""

Size = tuple[int, int, int]
"""Voxels along z, y and x."""

DEVICES: tuple[DeviceName, ...] = get_args(DeviceName)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
RUNTIMES: tuple[RuntimeName, ...] = get_args(RuntimeName)
VOLUME_SUFFIXES: tuple[VolumeSuffix, ...] = get_args(VolumeSuffix)
OUTPUT_SUFFIXES: tuple[OutputSuffix, ...] = get_args(OutputSuffix)
SEG_SUFFIX: OutputSuffix = ".dcm"

# A volume up to this size goes through a network in one piece: activations of a lean network then
# take about a gigabyte in fp32 (benchmarks/prediction.py). Larger ones are cut into windows of this
# edge, which holds the receptive field of all named networks and fits the caches of small machines.
WHOLE_VOLUME_VOXELS = 128**3
WINDOW_EDGE = 96

MIB = 2**20
