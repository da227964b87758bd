import io
import re
from html.parser import HTMLParser

from PIL import Image

from dsopt.reporting.page import Section, failure, page, results_table
from dsopt.reporting.tables import ResultRow

HOSTILE = "<img src=x onerror=\"alert('1')\"></title></style><script>alert(2)</script> & $"


class Reader(HTMLParser):
    """The tags with their attributes, the text, and whether every tag is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def png(width: int = 1200, height: int = 400) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def row(name: str, mean: float = 0.5, sd: float | None = 0.01) -> ResultRow:
    return ResultRow(name, "random", 1.0, 4320, 3, mean, sd, 12.0, 0.5, 12.5)


def example(text: str = "words") -> str:
    sections = [
        Section(text, f"{text}\n\nsecond", png(), None),
        Section("Results", "", None, results_table([row(text)])),
    ]
    return page(text, text, {text: text}, sections)


def test_page_is_one_file() -> None:
    html = example()
    read = Reader(html)
    assert read.open == []
    assert "http:" not in html and "https:" not in html and "@import" not in html and "url(" not in html
    assert not {tag for tag, _ in read.tags} & {"script", "link", "iframe", "object", "base", "form"}
    sources = [value or "" for _, attributes in read.tags for key, value in attributes.items() if key in ("src", "href", "srcset")]
    assert len(sources) == 1 and sources[0].startswith("data:image/png;base64,")
    assert len(re.findall("src=", html)) == 1


def test_images_are_described_and_shown_at_half_their_pixels() -> None:
    [image] = [attributes for tag, attributes in Reader(example("what it shows")).tags if tag == "img"]
    assert image["alt"] == "what it shows"
    assert (image["width"], image["height"]) == ("600", "200")


def test_hostile_names_stay_text() -> None:
    read = Reader(example(HOSTILE))
    assert read.open == []
    assert [tag for tag, _ in read.tags] == [tag for tag, _ in Reader(example()).tags]
    assert all(not key.startswith("on") for _, attributes in read.tags for key in attributes)
    assert read.text.count(HOSTILE) == 8  # title, heading, lead, a fact's name and value, a section's title and text, a row
    [image] = [attributes for tag, attributes in read.tags if tag == "img"]
    assert image["alt"] == HOSTILE


def test_empty_lines_separate_paragraphs() -> None:
    html = page("t", "", {}, [Section("s", "one\n\n\n\ntwo")])
    assert html.count("<p>") == 2 and "<dl>" not in html and "<p class=" not in html


def test_trusted_markup_is_put_in_as_it_is() -> None:
    assert "<em>table</em>" in page("t", "", {}, [Section("s", "", html="<em>table</em>")])


def test_a_failure_shows_hostile_output_as_text() -> None:
    assert failure("a<b", "x & y", []) == "<h3>a&lt;b</h3>\n<p>x &amp; y</p>"
    assert failure("a", "b", ["<script>", "  2"]).endswith("\n<pre>&lt;script&gt;\n  2</pre>")


def test_results_table_has_no_best_row() -> None:
    html = results_table([row("good", 0.9), row("bad", 0.1), row("alone", 0.5, None)])
    assert "90.00 ± 1.00" in html and "10.00 ± 1.00" in html
    assert not re.search("<b>|<strong>|<mark>|best", html)
    assert len(re.findall("<tr>", html)) == 4 and 'class="note"' in html
    assert {tag for tag, _ in Reader(html).tags} == {"div", "table", "thead", "tbody", "tr", "th", "td", "p", "span"}
