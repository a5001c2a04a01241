"""A network as one HTML file that segments scans in a browser."""
