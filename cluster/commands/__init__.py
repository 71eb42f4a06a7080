"""The commands: argparse, and nothing else."""
