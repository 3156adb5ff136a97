"""Renders Markdown that agents wrote as HTML that is safe to put into a page.

markdown-it-py parses it, with HTML off; pygments marks the words of code by classes; nh3 then removes everything that
is not on the lists here, so that a fault of the first two harms nobody. The modules take a tenth of a second to import:
they are loaded at the first text.

Markdown: https://spec.commonmark.org/0.31.2/, tables and struck text: https://github.github.com/gfm/
"""

from __future__ import annotations

import html
import re
import time
from collections.abc import Iterator, MutableMapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from gateway.security.unsafe_text import replace_unsafe

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_core import StateCore
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token
    from pygments.lexer import Lexer

#: characters of a text that can be rendered
MAX_MARKUP_CHARACTERS = 256 << 10
#: places that the parser looks at, for a text of any length and for each character of it, and at most; a text that
#: needs more is shown as it is written. Our densest page, docs/api.md, needs 0.12 for a character
MIN_PARSER_STEPS, PARSER_STEPS_PER_CHARACTER, MAX_PARSER_STEPS = 1000, 0.5, 40_000
#: lists and quotes that may lie within each other
MAX_NESTED_BLOCKS = 20
#: characters of a block of code whose words are marked, and of all such blocks of a text
MAX_MARKED_BLOCK_CHARACTERS, MAX_MARKED_CHARACTERS = 8 << 10, 64 << 10
#: characters of such a block in Java or C#: their lexers look for functions by expressions that take cubic time
MAX_SLOW_BLOCK_CHARACTERS = 4 << 10
#: seconds of a processor after which no further block of a text is marked
MAX_MARKING_CPU_SECONDS = 0.3
#: characters that each block counts for, however short it is: it takes as long as these
MARKED_BLOCK_OVERHEAD_CHARACTERS = 256
#: characters of a line of code whose words are marked
MAX_MARKED_LINE_CHARACTERS = 1000
#: class of the element around code
CODE_CLASS = "code"
#: where a link may lead; what is a path in the agent's workspace is none
LINK_SCHEMES = frozenset({"http", "https", "mailto"})

_BLOCK_TAGS = {"p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "ul", "ol", "li", "hr", "pre"}
_TABLE_TAGS = {"table", "thead", "tbody", "tr", "th", "td"}
_INLINE_TAGS = {"a", "br", "code", "em", "s", "span", "strong"}
#: all elements that come out
ALLOWED_TAGS = frozenset(_BLOCK_TAGS | _TABLE_TAGS | _INLINE_TAGS)
_ALIGNMENTS = {"left", "center", "right"}

_ALLOWED_LINK = re.compile(r"(?:https?://|mailto:)[^\s\\]+", re.IGNORECASE)
#: an address in the text; marks at its end belong to the sentence
_BARE_ADDRESS = re.compile(r"\bhttps?://[^\s<>\"'`\\*|\^{}]{1,2000}(?<![.,:;!?)\]])")
#: many lexers take quadratic time for blank lines that follow each other
_LONG_SPACE = re.compile(r"\s{100}")
_TASK_MARKS = {"[ ] ": "\N{BALLOT BOX} ", "[x] ": "\N{BALLOT BOX WITH CHECK} ", "[X] ": "\N{BALLOT BOX WITH CHECK} "}

#: names of languages that people write after a fence. Only those whose lexers have been measured with hostile code:
#: a regular expression that takes long holds Python's lock, and stops the whole gateway
LANGUAGES = {
    **dict.fromkeys(("bash", "sh", "shell", "zsh"), "bash"),
    **dict.fromkeys(("c", "h"), "c"),
    **dict.fromkeys(("cpp", "c++", "cc", "hpp"), "cpp"),
    **dict.fromkeys(("console", "shell-session"), "console"),
    **dict.fromkeys(("csharp", "cs", "c#"), "csharp"),
    "css": "css",
    **dict.fromkeys(("diff", "patch", "udiff"), "diff"),
    **dict.fromkeys(("docker", "dockerfile"), "docker"),
    **dict.fromkeys(("go", "golang"), "go"),
    "html": "html",
    **dict.fromkeys(("ini", "cfg", "properties"), "ini"),
    "java": "java",
    **dict.fromkeys(("javascript", "js", "jsx", "mjs"), "javascript"),
    **dict.fromkeys(("json", "jsonc", "json5"), "json"),
    **dict.fromkeys(("kotlin", "kt"), "kotlin"),
    "lua": "lua",
    **dict.fromkeys(("make", "makefile"), "make"),
    "php": "php",
    **dict.fromkeys(("powershell", "ps1", "pwsh"), "powershell"),
    **dict.fromkeys(("python", "py", "python3"), "python"),
    **dict.fromkeys(("ruby", "rb"), "ruby"),
    **dict.fromkeys(("rust", "rs"), "rust"),
    "sql": "sql",
    "swift": "swift",
    "toml": "toml",
    **dict.fromkeys(("typescript", "ts", "tsx"), "typescript"),
    **dict.fromkeys(("xml", "svg"), "xml"),
    **dict.fromkeys(("yaml", "yml"), "yaml"),
}
_SLOW_LANGUAGES = frozenset({"csharp", "java"})


class _TooManySteps(Exception):
    """The parser has looked at too many places."""


def render_markup(text: str) -> str:
    """Return a text as safe HTML; one that would take too long is shown as it is written.

    Raises:
        ValueError: the text is longer than `MAX_MARKUP_CHARACTERS`.
    """
    if len(text) > MAX_MARKUP_CHARACTERS:
        raise ValueError(f"text of {len(text)} characters")
    text = text.encode("utf-8", "replace").decode()  # nh3 takes no lone surrogates
    try:
        made = _load_parser().render(text, _make_limits(len(text)))
    except (_TooManySteps, RecursionError):
        made = f"<pre>{html.escape(text, quote=False)}</pre>"
    return replace_unsafe(_remove_unsafe_markup(made))  # at the end: a reference such as `&#8238;` is one of them, too


def _make_limits(characters: int) -> dict[str, float]:
    """Return what may be used for a text: steps of the parser, characters that are marked, and seconds for that."""
    return {
        "steps": min(MIN_PARSER_STEPS + characters * PARSER_STEPS_PER_CHARACTER, MAX_PARSER_STEPS),
        "marking": MAX_MARKED_CHARACTERS,
        "marking_seconds": MAX_MARKING_CPU_SECONDS,
    }


def _remove_unsafe_markup(made: str) -> str:
    """Return HTML with only the elements, attributes and classes that are listed here."""
    import nh3

    return nh3.clean(
        made,
        tags=set(ALLOWED_TAGS),
        attributes={"a": {"href"}, "ol": {"start"}},
        tag_attribute_values={cell: {"align": _ALIGNMENTS} for cell in ("td", "th")},
        set_tag_attribute_values={"a": {"target": "_blank"}},
        allowed_classes={"pre": {CODE_CLASS}, "span": _load_code_classes()},
        url_schemes=set(LINK_SCHEMES),
        url_relative="deny",
        link_rel="noopener noreferrer",
    )


@cache
def _load_code_classes() -> set[str]:
    """Return the classes by which pygments marks words of code."""
    from pygments.token import STANDARD_TYPES

    return {name for name in STANDARD_TYPES.values() if name}


@cache
def _load_parser() -> MarkdownIt:
    """Return the parser. What is left of the limits of one text is in the `env` of its call."""
    from markdown_it import MarkdownIt

    options = {"html": False, "maxNesting": MAX_NESTED_BLOCKS, "xhtmlOut": False, "linkify": False}
    parser = MarkdownIt("commonmark", options).enable(["table", "strikethrough"])
    parser.validateLink = lambda url: True  # type: ignore[method-assign] # `_settle_links` decides
    parser.block.ruler.before("table", "count_steps", _count_block_step, {"alt": ["paragraph", "blockquote", "list"]})
    parser.inline.ruler.before("text", "count_steps", _count_inline_step)
    parser.core.ruler.push("settle_links", _settle_inline_tokens)
    parser.add_render_rule("fence", _render_code)
    parser.add_render_rule("code_block", _render_code)
    parser.add_render_rule("th_open", _render_cell)
    parser.add_render_rule("td_open", _render_cell)
    return parser


def _count_block_step(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    _count_step(state.env)
    return False


def _count_inline_step(state: StateInline, silent: bool) -> bool:
    _count_step(state.env)
    return False


def _count_step(env: MutableMapping[str, Any]) -> None:
    env["steps"] -= 1
    if env["steps"] < 0:
        raise _TooManySteps


# --- words ------------------------------------------------------------------------------------


def _settle_inline_tokens(state: StateCore) -> None:
    """Make links of pictures and bare addresses, drop links that lead nowhere, and draw the boxes of tasks."""
    before = ""
    for token in state.tokens:
        if token.type == "inline":
            token.children = list(_settle_links(token.children or []))
            if before == "list_item_open" and token.children:
                _draw_task_box(token.children[0])
        elif token.type != "paragraph_open":
            before = token.type


def _draw_task_box(token: Token) -> None:
    if token.type == "text" and (box := _TASK_MARKS.get(token.content[:4])):
        token.content = box + token.content[4:]


def _settle_links(tokens: Sequence[Token]) -> Iterator[Token]:
    is_dropped, is_inside = False, False  # a link cannot be in another
    for token in tokens:
        match token.type:
            case "link_open":
                is_dropped = _ALLOWED_LINK.fullmatch(str(token.attrGet("href"))) is None
                is_inside = not is_dropped
                token.attrs = {"href": token.attrs["href"]}
                yield from () if is_dropped else (token,)
            case "link_close":
                yield from () if is_dropped else (token,)
                is_dropped = is_inside = False
            case "image":
                yield from _describe_picture(token, is_inside=is_inside)
            case "text" if not is_inside:
                yield from _link_addresses(token.content)
            case _:
                yield token


def _describe_picture(token: Token, *, is_inside: bool) -> list[Token]:
    """Return what stands for a picture: its description, which leads to it. Its host shall not learn who reads."""
    url = str(token.attrGet("src"))
    shown = "".join(child.content for child in token.children or ())
    if is_inside or _ALLOWED_LINK.fullmatch(url) is None:
        return [_make_text(shown)]
    return _make_link(url, shown.strip() or url)


def _link_addresses(text: str) -> Iterator[Token]:
    """Return a text whose web addresses are links."""
    at = 0
    for found in _BARE_ADDRESS.finditer(text):
        yield _make_text(text[at : found.start()])
        yield from _make_link(found[0], found[0])
        at = found.end()
    yield _make_text(text[at:])


def _make_text(text: str) -> Token:
    from markdown_it.token import Token

    return Token("text", "", 0, content=text)


def _make_link(url: str, shown: str) -> list[Token]:
    from markdown_it.token import Token

    return [Token("link_open", "a", 1, attrs={"href": url}), _make_text(shown), Token("link_close", "a", -1)]


# --- blocks -----------------------------------------------------------------------------------


def _render_cell(renderer: object, tokens: Sequence[Token], index: int, options: object, env: object) -> str:
    """Return the start of a table's cell. Its alignment is an attribute: pages allow no styles in elements."""
    style = str(tokens[index].attrGet("style") or "")
    align = style.removeprefix("text-align:")
    return f'<{tokens[index].tag} align="{align}">' if align in _ALIGNMENTS else f"<{tokens[index].tag}>"


def _render_code(
    renderer: object, tokens: Sequence[Token], index: int, options: object, env: MutableMapping[str, Any]
) -> str:
    code = tokens[index].content
    language = LANGUAGES.get(tokens[index].info.strip().partition(" ")[0].lower())
    if language is not None and _can_be_marked(code, language) and min(env["marking"], env["marking_seconds"]) > 0:
        began = time.thread_time()
        shown = _mark_words(code, language)
        env["marking"] -= len(code) + MARKED_BLOCK_OVERHEAD_CHARACTERS
        env["marking_seconds"] -= time.thread_time() - began
    else:
        shown = html.escape(code, quote=False)
    return f'<pre class="{CODE_CLASS}"><code>{shown}</code></pre>\n'


def _can_be_marked(code: str, language: str) -> bool:
    """Return whether the lexer of a language is quick for this code, whoever wrote it."""
    longest = MAX_SLOW_BLOCK_CHARACTERS if language in _SLOW_LANGUAGES else MAX_MARKED_BLOCK_CHARACTERS
    return (
        len(code) <= longest
        and all(len(line) <= MAX_MARKED_LINE_CHARACTERS for line in code.split("\n"))
        and _LONG_SPACE.search(code) is None
    )


def _mark_words(code: str, language: str) -> str:
    """Return code as HTML whose words have the classes of pygments."""
    import pygments
    from pygments.formatters.html import HtmlFormatter

    return str(pygments.highlight(code, _load_lexer(language), HtmlFormatter(nowrap=True)))


@cache
def _load_lexer(language: str) -> Lexer:
    from pygments.lexers import get_lexer_by_name

    # The letters of all scripts, as in C#'s own lexer, make it four times slower.
    options = {"unicodelevel": "none"} if language == "csharp" else {}
    return get_lexer_by_name(language, stripnl=False, **options)
