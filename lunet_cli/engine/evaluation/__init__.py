"""Metrics on masks."""
