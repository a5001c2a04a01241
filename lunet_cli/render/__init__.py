"""Showing results: in the terminal, as pictures for papers, as a page. Knows no PyTorch."""
