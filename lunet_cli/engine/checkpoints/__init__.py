"""Trained networks as files: ours, and those of the authors' release."""
