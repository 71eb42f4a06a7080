"""The commands: argparse, and nothing else that argparse is needed for."""
