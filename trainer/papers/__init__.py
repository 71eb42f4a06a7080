"""One file a paper: its published rows, and the figures that only it has."""
