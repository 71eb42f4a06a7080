"""What Prometheus computes and what it warns of: tables over the catalogue, and the file that promtool checks."""
