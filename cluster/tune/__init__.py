"""Tune: a search for good values of a config's fields, by many runs on one cluster."""
