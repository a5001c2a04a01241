"""Everything about a run in one place."""
