"""Calls before which torch would import its compiler, which takes two seconds of every process that trains."""

from typing import Any

_COMPILE = "torch._compile"  # the module whose wrapper they are in


def as_they_are(*wrapped: Any) -> None:
    """Functions, and methods of classes, that torch keeps out of compiled code are called without asking the compiler.

    torch's wrapper imports torch._dynamo at the first call, to be given a function that switches it off around the
    wrapped one; that matters where code is compiled around the call, and here none is (compiled.py compiles cells).
    What has no such wrapper stays as it is, as everything does in a torch that does it otherwise.
    """
    for each in wrapped:
        for function in vars(each).values() if isinstance(each, type) else (each,):
            plain = getattr(function, "__wrapped__", None)
            if plain is not None and getattr(function, "__globals__", {}).get("__name__") == _COMPILE:
                vars(plain).setdefault("__dynamo_disable", plain)
