"""core/html.js: templates, keyed lists, and that no text is ever markup."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.support.browser import Dashboard
from tests.support.inprocess import Serving

#: a script of a test has these names, and an element `place` in the document
_PRELUDE = """
const base = document.querySelector('script[type=module]').src.replace('main.js', 'core/');
const { html, svg, each, only, trusted } = await import(base + 'html.js');
const { signal, scope } = await import(base + 'signals.js');
const place = document.getElementById('place') ?? document.body.appendChild(document.createElement('div'));
place.id = 'place';
place.replaceChildren();
const settle = () => new Promise((resolve) => setTimeout(resolve));
"""


class Script:
    """Runs JavaScript in a page of the dashboard."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def __call__(self, code: str) -> Any:
        return await self._page.evaluate(f"(async () => {{ {_PRELUDE} {code} }})()")


@pytest_asyncio.fixture(loop_scope="session")
async def script(moongate: Serving, dashboard: Dashboard) -> Script:
    dashboard.expect_refusals(401, "/api/me")
    page = await (await dashboard.make_context(moongate)).new_page()
    await page.goto(moongate.url)
    await expect(page.get_by_role("heading", level=1)).to_be_visible()
    return Script(page)


async def test_text_is_never_markup_wherever_it_stands(script: Script) -> None:
    found = await script("""
        const bad = '<img src=x onerror="globalThis.ran = 1">';
        place.append(html`<p title=${bad} class=${() => bad}>${bad}${() => bad}${[bad, [bad]]}</p>`);
        place.append(html`<textarea .value=${bad}></textarea><a href=${'/x'}>${bad}</a>`);
        await settle();
        return [place.querySelectorAll('img').length, globalThis.ran ?? 0,
                place.querySelector('p').textContent === bad.repeat(4),
                place.querySelector('p').title === bad, place.querySelector('textarea').value === bad];
    """)

    assert found == [0, 0, True, True, True]


async def test_trusted_markup_becomes_elements_and_its_scripts_do_not_run(script: Script) -> None:
    found = await script("""
        place.append(html`<div>${trusted('<b>bold</b><script>globalThis.ran = 1</' + 'script>')}</div>`);
        await settle();
        return [place.querySelector('b').textContent, globalThis.ran ?? 0];
    """)

    assert found == ["bold", 0]


async def test_a_function_is_shown_again_when_what_it_read_changes(script: Script) -> None:
    found = await script("""
        const n = signal(1), list = signal(['a', 'b']);
        const bold = () => list().map((one) => html`<b>${one}</b>`);
        place.append(html`<p class=${() => `n${n()}`} ?hidden=${() => n() > 1}>${() => n()} of ${bold}!</p>`);
        const p = place.querySelector('p'), before = p.outerHTML.replace(/<!--.*?-->/g, '');
        n.set(2); list.set([]);
        await settle();
        const after = p.outerHTML.replace(/<!--.*?-->/g, '');
        n.set(1); list.set(['c']);
        await settle();
        return [before, after, p.outerHTML.replace(/<!--.*?-->/g, ''), p === place.querySelector('p')];
    """)

    assert found == [
        '<p class="n1">1 of <b>a</b><b>b</b>!</p>',
        '<p class="n2" hidden="">2 of !</p>',
        '<p class="n1">1 of <b>c</b>!</p>',
        True,
    ]


async def test_nothing_is_shown_for_null_undefined_and_false_but_zero_is(script: Script) -> None:
    found = await script("""
        place.append(html`<p>${null}${undefined}${false}${''}${0}</p><i title=${null} class=${false} id=${0}></i>`);
        return [place.querySelector('p').textContent, place.querySelector('i').outerHTML];
    """)

    assert found == ["0", '<i id="0"></i>']


async def test_a_listener_gets_its_event(script: Script) -> None:
    found = await script("""
        const seen = [];
        place.append(html`<button @click=${(event) => seen.push(event.type)} @focus=${null}>x</button>`);
        place.querySelector('button').click();
        return seen;
    """)

    assert found == ["click"]


async def test_a_select_takes_its_value_after_it_has_its_options(script: Script) -> None:
    found = await script("""
        const options = ['a', 'b'].map((one) => html`<option value=${one}>${one}</option>`);
        place.append(html`<select .value=${'b'}>${options}</select>`);
        return place.querySelector('select').value;
    """)

    assert found == "b"


async def test_an_svg_template_makes_elements_of_svg(script: Script) -> None:
    found = await script("""
        place.append(html`<svg viewBox="0 0 9 9">${svg`<path d=${'M0 0'} /><g>${svg`<circle r="1" />`}</g>`}</svg>`);
        return [...place.querySelectorAll('*')].map((one) => [one.localName, one.namespaceURI.slice(-3)]);
    """)

    assert found == [["svg", "svg"], ["path", "svg"], ["g", "svg"], ["circle", "svg"]]


@pytest.mark.parametrize(
    "orders",
    [
        ["abc", "cab", "bca", "c", "", "abc"],
        ["abcdef", "fedcba", "bd", "xbyd", "dybx"],
        ["a", "aa", "aab"],
    ],
)
async def test_a_keyed_list_keeps_its_rows_and_their_order(script: Script, orders: list[str]) -> None:
    shown = await script(f"""
        const items = signal([]);
        const list = each(items, (one) => one, (one) => html`<li>${{() => one()}}</li>`);
        place.append(html`<ul><li>first</li>${{list}}<li>last</li></ul>`);
        const rows = () => [...place.querySelectorAll('li')].slice(1, -1);
        const found = [];
        for (const order of {orders}) {{
            const before = new Map(rows().map((one) => [one.textContent, one]));
            items.set([...order]);
            await settle();
            const isKept = rows().every((one) => !before.has(one.textContent) || before.get(one.textContent) === one);
            found.push(rows().map((one) => one.textContent).join('') + (isKept ? '' : ' made again'));
        }}
        return found;
    """)

    assert shown == ["".join(dict.fromkeys(order)) for order in orders]


async def test_a_row_shows_its_present_item_and_ends_with_it(script: Script) -> None:
    found = await script("""
        const items = signal([{ id: 1, text: 'a' }, { id: 2, text: 'b' }]), other = signal(0);
        let runs = 0;
        const row = (one) => html`<li>${() => (other(), runs++, one().text)}</li>`;
        place.append(html`<ul>${each(items, (one) => String(one.id), row)}</ul>`);
        const first = place.querySelector('li');
        items.set([{ id: 1, text: 'changed' }]);
        await settle();
        const before = runs;
        other.set(1);
        await settle();
        return [place.querySelector('ul').textContent, first === place.querySelector('li'), runs - before];
    """)

    assert found == ["changed", True, 1]


async def test_what_a_scope_showed_changes_no_more_after_its_end(script: Script) -> None:
    found = await script("""
        const n = signal(1);
        const [node, end] = scope(() => html`<p>${() => n()}</p>`);
        place.append(node);
        end();
        n.set(2);
        await settle();
        return place.textContent;
    """)

    assert found == "1"
