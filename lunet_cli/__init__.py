"""Lean 3D segmentation networks: train, evaluate, run, measure and shrink them."""

__version__ = "0.1.0"
