"""Markdown of agents as HTML: what comes out is safe, whatever goes in, and takes a bounded time."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pygments.lexers import get_lexer_by_name
from pygments.token import STANDARD_TYPES

from gateway.api import markup
from gateway.api.markup import ALLOWED_TAGS, LANGUAGES, MAX_MARKUP_CHARACTERS, render_markup

STYLES = Path(markup.__file__).parents[1] / "web" / "style" / "code.css"
ATTRIBUTES = {
    "a": {"href", "target", "rel"},
    "ol": {"start"},
    "td": {"align"},
    "th": {"align"},
    "pre": {"class"},
    "span": {"class"},
}
#: classes of pygments that look like the text around them
PLAIN_CLASSES = {"g", "n", "nx", "o", "p", "pm", "py", "w", "x"}


class Checker(HTMLParser):
    """Collects what a page would show, and fails on everything that is not allowed."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text = ""
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ALLOWED_TAGS
        given = dict(attrs)
        assert set(given) <= ATTRIBUTES.get(tag, set()), (tag, attrs)
        classes = set((given.get("class") or "").split())
        assert classes <= {"code", ""} if tag == "pre" else classes <= set(STANDARD_TYPES.values())
        if tag == "a" and "href" in given:
            assert (given["target"], given["rel"]) == ("_blank", "noopener noreferrer")
            assert re.match(r"(https?|mailto):", given["href"] or "", re.IGNORECASE), given["href"]
            self.links.append(given["href"] or "")

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"comment {data!r}")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(f"declaration {decl!r}")

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"instruction {data!r}")

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(f"declaration {data!r}")


def check(text: str) -> Checker:
    """Return what a page shows of a text, and the links that it has."""
    found = Checker()
    found.feed(render_markup(text))
    found.close()
    return found


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("**a** *b* ~~c~~ `d`", "<p><strong>a</strong> <em>b</em> <s>c</s> <code>d</code></p>"),
        ("# a\n\n> b\n\n---\n", "<h1>a</h1>\n<blockquote>\n<p>b</p>\n</blockquote>\n<hr>"),
        ("- a\n- b", "<ul>\n<li>a</li>\n<li>b</li>\n</ul>"),
        ("3. a", '<ol start="3">\n<li>a</li>\n</ol>'),
        ("- [ ] a\n- [x] b\n- [y] c", "<ul>\n<li>☐ a</li>\n<li>☑ b</li>\n<li>[y] c</li>\n</ul>"),
        ("[ ] a", "<p>[ ] a</p>"),
        ("a  \nb", "<p>a<br>\nb</p>"),
        ("    <b>", '<pre class="code"><code>&lt;b&gt;\n</code></pre>'),
        ("```nope\n<b>\n```", '<pre class="code"><code>&lt;b&gt;\n</code></pre>'),
        (
            "```sh\ncd /\n```",
            '<pre class="code"><code><span class="nb">cd</span><span class="w"> </span>/\n</code></pre>',
        ),
    ],
)
def test_markdown_becomes_html(text: str, made: str) -> None:
    assert render_markup(text).strip() == made


def test_a_table_has_its_alignment_without_styles() -> None:
    made = render_markup("a | b | c\n:-:|--:|---\n1 | 2 | 3")

    assert '<th align="center">a</th>\n<th align="right">b</th>\n<th>c</th>' in made
    assert '<td align="center">1</td>' in made
    assert "style" not in made


@pytest.mark.parametrize(
    ("text", "shown", "links"),
    [
        ("see https://a.b/c?d=1&e=2.", "see https://a.b/c?d=1&e=2.", ["https://a.b/c?d=1&e=2"]),
        ("(http://a.b/c) x", "(http://a.b/c) x", ["http://a.b/c"]),
        ("<https://a.b>, <me@a.b>", "https://a.b, me@a.b", ["https://a.b", "mailto:me@a.b"]),
        ("`https://a.b`", "https://a.b", []),
        ("[a](HTTPS://a.b 'title')", "a", ["HTTPS://a.b"]),
        ("[https://a.b](https://c.d)", "https://a.b", ["https://c.d"]),
        (
            "[main](src/main.py) [up](../x) [root](/api/tasks) [here](#x) [host](//evil.test)",
            "main up root here host",
            [],
        ),
        ("![a picture](https://a.b/c.png)", "a picture", ["https://a.b/c.png"]),
        ("![](https://a.b/c.png)", "https://a.b/c.png", ["https://a.b/c.png"]),
        ("![a **b**](data:image/png;base64,AAAA)", "a b", []),
        ("[![badge](https://a.b/c.svg)](https://d.e)", "badge", ["https://d.e"]),
        ("[![badge](https://a.b/c.svg)](x.md) ![p](https://q.r)", "badge p", ["https://a.b/c.svg", "https://q.r"]),
        ("ftp://a.b file:///etc/passwd", "ftp://a.b file:///etc/passwd", []),
    ],
)
def test_links_lead_only_to_the_web_and_to_people(text: str, shown: str, links: list[str]) -> None:
    found = check(text)

    assert (found.text.strip(), found.links) == (shown, links)


HOSTILE = {
    "script": "<script>alert(1)</script>",
    "open script": "<script",
    "beacon": '<img src="https://evil.test/x.png" onerror="alert(1)">',
    "picture": "![x](https://evil.test/x.png)",
    "picture by reference": "![x][a]\n\n[a]: https://evil.test/x.png",
    "javascript": "[x](javascript:alert(1)) <javascript:alert(1)>",
    "javascript in disguise": "[x](java\tscript:alert(1)) [x](&#106;avascript:x) [x](<java&Tab;script:x>)",
    "javascript with controls": "[x](\x01javascript:alert(1)) [x](%6aavascript:alert(1))",
    "data": "[x](data:text/html;base64,PHNjcmlwdD4=) <data:text/html,x>",
    "vbscript": "[x](vbscript:x) [x](VBSCRIPT:x)",
    "by reference": "[x]\n\n[x]: javascript:alert(1)",
    "svg": "<svg onload=alert(1)><script>x</script></svg>",
    "math": "<math><mtext></table><mglyph><style><img src=x onerror=alert(1)>",
    "style": '<style>*{background:url(https://evil.test)}</style><p style="position:fixed">',
    "handlers": '<a href="https://a.b" onclick="x">y</a> [a](https://a.b" onclick="x)',
    "title": "[a](https://a.b '\" onmouseover=\"alert(1)')",
    "entities": "&lt;script&gt;alert(1)&lt;/script&gt; &#60;img src=x&#62; &#x0; &nosuch;",
    "broken": "<<b>><!-- <a href=<x>> </p></div> <![CDATA[<b>]]> <?php x ?> <!DOCTYPE html>",
    "frame": "<iframe src='https://evil.test'></iframe><object data=x><embed src=x><base href=x><form action=x><input>",
    "code": "```html\n<script>alert(1)</script><img src=x onerror=x>\n```\n\n`<script>`",
    "fence": '```"><script>alert(1)</script>\nx\n```',
    "table": "<b>|<script>\n-|-\n<img src=x>|[a](javascript:x)",
    "host": "[a](https://evil.test\\@good.test) [b](https:/evil.test) [c](https://a.b\u00a0c)",
}


#: links that some of them may have
HARMLESS = {
    "beacon": ["https://evil.test/x.png"],
    "picture": ["https://evil.test/x.png"],
    "picture by reference": ["https://evil.test/x.png"],
    "style": ["https://evil.test"],
    "handlers": ["https://a.b", "https://a.b"],
    "title": ["https://a.b"],
    "frame": ["https://evil.test"],
    "host": ["https://evil.test@good.test"],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_only_text(name: str) -> None:
    assert check(HOSTILE[name]).links == HARMLESS.get(name, [])


def test_html_is_shown_as_it_is_written() -> None:
    text = 'a <script>alert(1)</script> <img src="https://evil.test/x" onerror="y"> <!-- c -->'

    assert check(text).text.strip() == text
    assert "<script" not in render_markup(text)


def test_marks_that_turn_a_text_around_are_replaced() -> None:
    assert check("&#8238;a&#x2067;").text.strip() == "\ufffda\ufffd"
    found = check("a\u202eb\u2066c `d\u200fe`\n\n```py\nx = 1 # \u202e}\n```\n\x1b[31m\x00")

    assert not re.search("[\x00\x1b\u200e\u200f\u202a-\u202e\u2066-\u2069]", found.text)
    assert "a\ufffdb\ufffdc d\ufffde" in found.text


PIECES = st.sampled_from(
    [
        *HOSTILE.values(),
        "**",
        "_",
        "`",
        "```py\n",
        "\n",
        "\n\n",
        "> ",
        "- ",
        "1. ",
        "|",
        "-|-\n",
        "[",
        "](",
        ")",
        "![",
        "<",
        ">",
        "&",
        '"',
        "'",
        "=",
        "\\",
        "https://a.b",
        "javascript:",
        "\t",
        "    ",
        "# ",
        "\u202e",
        "\x00",
        "on",
        "�",
        "x",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(), st.lists(PIECES, max_size=30).map("".join)))
@example("[a](https://a.b\x00)")
def test_no_text_makes_anything_that_is_not_allowed(text: str) -> None:
    check(text)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(LANGUAGES)), st.one_of(st.text(), st.lists(PIECES, max_size=30).map("".join)))
def test_no_code_makes_anything_that_is_not_allowed(language: str, code: str) -> None:
    check(f"~~~~~~~~ {language}\n{code}\n~~~~~~~~")


LARGE = {
    "words": "Some **words** in a line with `code` and more of them.\n\n",
    "quotes": ">",
    "lists": "- ",
    "items": "- [ ] a\n",
    "links": "[",
    "pictures": "![",
    "half links": "[a](b",
    "emphasis": "**a *b* ",
    "underscores": "a**b__",
    "code": "`a",
    "autolinks": "<https://a> ",
    "angles": "<http:",
    "entities": "&#99999;",
    "backslashes": "\\*",
    "references": "[a]: b\n",
    "tables": "a|b\n-|-\nc|d\n\n",
    "headings": "# a\n",
    "fences": "```py\na\n```\n",
    "addresses": "https://a ",
    "brackets after an address": "https://a" + ")" * 2000,
    "tabs": "\t",
}


@pytest.mark.parametrize("piece", LARGE.values(), ids=LARGE.keys())
def test_a_large_hostile_text_takes_a_bounded_number_of_steps(piece: str, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = 0
    inner = markup._count_step

    def count(env: dict[str, float]) -> None:
        nonlocal steps
        steps += 1
        inner(env)

    monkeypatch.setattr(markup, "_count_step", count)
    made = render_markup((piece * (MAX_MARKUP_CHARACTERS // len(piece) + 1))[:MAX_MARKUP_CHARACTERS])

    assert steps <= markup.MAX_PARSER_STEPS + 1
    assert len(made) <= 8 * MAX_MARKUP_CHARACTERS


def test_a_text_that_would_take_too_long_is_shown_as_it_is_written() -> None:
    text = "![<b>" * 1000

    assert render_markup(text) == f"<pre>{text.replace('<', '&lt;').replace('>', '&gt;')}</pre>"


def test_deep_lists_and_quotes_end_at_a_depth() -> None:
    made = render_markup("> " * 500 + "a")

    assert made.count("<blockquote>") <= markup.MAX_NESTED_BLOCKS


def test_a_text_that_is_too_long_is_an_error() -> None:
    with pytest.raises(ValueError, match="262145 characters"):
        render_markup("a" * (MAX_MARKUP_CHARACTERS + 1))


SLOW_CODE = {
    "long": "a = 1\n" * 2000,
    "a long line": "a" * 1001,
    "blank lines": "a\n" + "\n" * 100 + "b",
}


@pytest.mark.parametrize("code", SLOW_CODE.values(), ids=SLOW_CODE.keys())
def test_code_that_could_be_slow_has_no_marks(code: str) -> None:
    made = render_markup(f"```python\n{code}\n```")

    assert "<span" not in made
    assert code in made


def test_languages_that_are_slow_have_a_lower_limit() -> None:
    code = "int a = 1;\n" * 500

    assert "<span" not in render_markup(f"```java\n{code}```")
    assert "<span" in render_markup(f"```c\n{code}```")


def test_only_so_much_code_of_a_text_is_marked() -> None:
    made = render_markup("```python\nx = 1\n```\n" * 1000)

    assert 0 < made.count('<pre class="code"><code><span') < 300
    assert made.count('<pre class="code">') == 1000


def test_code_that_took_long_is_the_last_that_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markup, "MAX_MARKING_CPU_SECONDS", 1e-9)

    assert render_markup("```python\nx = 1\n```\n" * 3).count('<pre class="code"><code><span') == 1


@pytest.mark.parametrize("language", sorted(set(LANGUAGES.values())))
def test_each_language_is_known_to_pygments(language: str) -> None:
    assert language in get_lexer_by_name(language).aliases


def test_every_class_of_code_has_a_colour_or_needs_none() -> None:
    rules = STYLES.read_text()
    exact = set(re.findall(r"\.code \.([a-z0-9]+)", rules))
    begin = tuple(re.findall(r"\.code \[class\^=([a-z])\]", rules))
    emitted = {name for name in STANDARD_TYPES.values() if name}

    assert [name for name in emitted - exact - PLAIN_CLASSES if not name.startswith(begin)] == []
    assert exact <= emitted


def test_all_colours_of_code_are_those_of_the_page() -> None:
    base = (STYLES.parent / "base.css").read_text()

    assert all(f"{name}:" in base for name in re.findall(r"var\((--[a-z-]+)\)", STYLES.read_text()))
    assert "#" not in re.sub(r"/\*.*?\*/", "", STYLES.read_text(), flags=re.DOTALL)


def test_nothing_that_renders_is_loaded_before_the_first_text() -> None:
    code = (
        "import sys; from gateway import app; from gateway.api import routing, markup; routing.discover_routes();"
        " before = {'nh3', 'pygments', 'markdown_it'} & set(sys.modules); markup.render_markup('```py\\n1\\n```');"
        " print(before, {'nh3', 'pygments', 'markdown_it'} <= set(sys.modules))"
    )

    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set() True\n"
