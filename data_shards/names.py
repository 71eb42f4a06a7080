"""What things in a data set may be called: their names become files, addresses and lines of a page.

Patterns are of whole names. None allows a slash, a scheme, or a dot in front: nothing leads out of its folder.
"""

import re

KEY = r"^[A-Za-z0-9_-]{1,60}$"  # of a clip
MEMBER = r"^[A-Za-z0-9_-]{1,40}(\.[A-Za-z0-9_-]{1,20}){0,3}$"  # of a sample, without its key
SPLIT = r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,59}$"
SHARD = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,150}\.tar$"
INDEX = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,150}\.index\.npz$"
SHA256 = r"^[0-9a-f]{64}$"


def allows(pattern: str, name: str) -> bool:
    """Whether `name` is one; the end of a pattern is the end of the text, also of one that ends a line."""
    return re.fullmatch(pattern.strip("^$"), name) is not None
