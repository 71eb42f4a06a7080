"""Dashboards for Grafana, made of the catalogue: a series is on the board of its group as soon as it has a row."""
