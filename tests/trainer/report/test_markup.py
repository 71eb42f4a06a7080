"""Text of the page."""

from trainer.report.markup import document, text


def test_a_page_with_a_name_that_is_no_text_can_be_written() -> None:
    page = document("caf\udce9", [text("p", "\u6620 \udce9")])
    assert "<title>caf\\udce9</title>" in page
    assert "\u6620 \\udce9" in page
    assert page.encode("utf-8")
