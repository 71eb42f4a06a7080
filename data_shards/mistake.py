"""The type of what a user can cause, and mend."""


class UserError(ValueError):
    """A mistake of the user, told in one sentence: the field, the value, what is allowed, a remedy.

    Any other ValueError is a mistake of the program, and ends a command with a trace.
    """
