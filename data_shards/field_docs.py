"""What the fields of a config say of themselves: the one source of every --help and of every listing of a config."""

import ast
import inspect
import textwrap
from functools import cache
from itertools import pairwise


@cache
def field_docs(cls: type) -> dict[str, str]:
    """The string literal under each annotated field of `cls`, on one line; those of its parents first.

    Works for dataclasses and pydantic models alike, and for no class that was made without a file of source. A field
    that says nothing is left out; one that a child annotates anew keeps what its parent says, unless the child says
    something else.
    """
    docs: dict[str, str] = {}
    for part in reversed(cls.__mro__):
        for field, text in pairwise(_body(part)):
            match field, text:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(words))),
                ):
                    docs[name] = " ".join(words.split())
    return docs


def _body(cls: type) -> list[ast.stmt]:
    """The statements of the class, none where its source is not at hand."""
    if not inspect.get_annotations(cls):
        return []
    try:
        source = inspect.getsource(cls)
    except (OSError, TypeError):
        return []
    (tree,) = ast.parse(textwrap.dedent(source)).body
    assert isinstance(tree, ast.ClassDef)
    return tree.body
