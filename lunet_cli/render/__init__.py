"""Showing results in the terminal: tables, progress, plots. Knows rich and plotext, not torch."""
