"""Measurements on the machine at hand, each next to its peer or its limit."""
