"""Views as pictures for papers, drawn with matplotlib."""
