"""Views drawn with characters."""
