"""The meaning of a config's fields, from one source: the string under each field of its class."""

import ast
import inspect
import textwrap
from dataclasses import fields, is_dataclass
from itertools import pairwise


def field_docs(cls: type) -> dict[str, str]:
    """The meaning of each field of a dataclass or pydantic model, as one line; absent where none is written.

    A field that a subclass gives another default keeps the meaning that the parent wrote, unless the subclass writes
    one of its own.
    """
    names = [field.name for field in fields(cls)] if is_dataclass(cls) else getattr(cls, "model_fields", ())
    texts: dict[str, str] = {}
    for owner in reversed(cls.__mro__):
        if not vars(owner).get("__annotations__", {}).keys().isdisjoint(names):
            texts |= _strings_under_names(owner)
    return {name: texts[name] for name in names if name in texts}


def _strings_under_names(cls: type) -> dict[str, str]:
    """What the body of this class alone writes under its annotated names; nothing where its source is out of reach."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError):
        return {}
    (body,) = (node.body for node in tree.body if isinstance(node, ast.ClassDef))
    texts = {}
    for above, below in pairwise(body):
        match above, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                texts[name] = " ".join(text.split())
    return texts
