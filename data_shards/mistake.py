"""The type of what a user can cause, and mend; and what may be shown of names that others chose."""


class UserError(ValueError):
    """A mistake of the user, told in one sentence: the field, the value, what is allowed, a remedy.

    Any other ValueError is a mistake of the program, and ends a command with a trace.
    """


def printable(text: str, besides: str = "") -> str:
    """The text with all that a terminal would obey, or cannot show, escaped; but for the characters `besides`."""
    return "".join(c if c.isprintable() or c in besides else ascii(c)[1:-1] for c in text)
