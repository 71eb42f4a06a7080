"""Arrays in, bytes out: pictures, plots, films, colour wheel."""
