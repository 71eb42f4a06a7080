"""Options that several benchmarks have."""

from argparse import ArgumentParser

import torch

from data_shards.commands import given_path


def add_device_and_file(parser: ArgumentParser) -> None:
    """Where to measure, and where to write what was."""
    parser.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="in torch's words; %(default)s by default on this machine",
    )
    parser.add_argument(
        "--json", type=given_path, metavar="FILE", help="write settings and rows there too; not by default"
    )
