"""The work itself: networks, data, training. Never prints and never reads the command line."""
