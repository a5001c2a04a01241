"""Smaller networks from trained ones: what each channel is worth, and which ones go."""
