"""Lists in text files, whatever editor saved them."""

import codecs

from data_shards.mistake import UserError
from data_shards.storage.store import Store

# The longer marks first: that of UTF-32 begins as that of UTF-16 does.
MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}


def read_lines(store: Store, name: str) -> list[str]:
    """The lines of a text file in UTF-8, or in what the mark at its beginning says, which is no part of them.

    Raises:
        UserError: it is no text, or of another encoding; names it.
        StorageError: it cannot be read.
    """
    data = store.read(name)
    mark, encoding = next(((m, e) for m, e in MARKS.items() if data.startswith(m)), (b"", "utf-8"))
    try:
        text = data[len(mark) :].decode(encoding, "replace" if encoding == "utf-8" else "strict")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise UserError(f"{store.address(name)}: is no text in UTF-8; save it as UTF-8")
    return text.splitlines()
