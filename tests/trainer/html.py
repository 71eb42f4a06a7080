"""A page as a reader of it has it."""

import base64
import io
import re
from html.parser import HTMLParser

from PIL import Image

VOID = {"meta", "img", "br", "link", "path", "use", "rect"}


class Page(HTMLParser):
    """Collects the elements and checks that they nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def check_page(text: str) -> Page:
    """What every page must be: well nested, self-contained, with pictures that decode and say what they show."""
    page = Page(text)
    assert page.named("script") == []
    assert [a for a in page.named("link") if not str(a["href"]).startswith("data:")] == []
    assert re.findall(r"url\((?!#)", text) == []
    assert "@import" not in text
    for attributes in page.named("img"):
        assert attributes["alt"]
        kind, _, data = str(attributes["src"]).partition(";base64,")
        assert kind in ("data:image/webp", "data:image/gif")
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            picture.load()
    ids = [str(a["id"]) for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    return page
