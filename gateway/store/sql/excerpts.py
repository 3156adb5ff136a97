"""Cuts the best part out of a message in which the matches of a search are marked.

FTS5 has a function for that, `snippet`, but its time grows with the square of the number of matches: a message that
repeats one word took it many seconds. This one looks at each match once.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from typing import NamedTuple

from gateway.domain.search import join_characters

#: mark the beginning and the end of a match; shown text never contains them
MATCH_BEGIN, MATCH_END = "\x02", "\x03"
#: characters of a message that are indexed; the migrations of SQLite use the same number
MAX_INDEXED_CHARACTERS = 65536
#: words of an excerpt, and its characters
MAX_EXCERPT_WORDS, MAX_EXCERPT_CHARACTERS = 32, 1000
#: matches of a message that are looked at, from its beginning
MAX_EXAMINED_MATCHES = 1000

_MARKED_MATCH = re.compile(f"{MATCH_BEGIN}([^{MATCH_BEGIN}{MATCH_END}]*){MATCH_END}")
_WORD = re.compile(r"\w+")


class Excerpt(NamedTuple):
    """A part of a message."""

    text: str
    #: the matches in it, each once
    matches: tuple[str, ...]


def cut_excerpt(marked: str) -> Excerpt:
    """Return the first part of a marked message that has the most different matches."""
    found = [match for match, _ in zip(_MARKED_MATCH.finditer(marked), range(MAX_EXAMINED_MATCHES), strict=False)]
    if not found:
        return _clean(marked[:MAX_EXCERPT_CHARACTERS], marked)
    first, last = _choose_matches(marked, found)
    begin, end = found[first].start(), found[last].end()
    room = MAX_EXCERPT_WORDS - len(_WORD.findall(marked, begin, end))
    begin = _extend_back(marked, begin, room // 2)
    end = _extend_forward(marked, end, max(room - len(_WORD.findall(marked, begin, found[first].start())), 0))
    return _clean(marked[begin : min(end, begin + MAX_EXCERPT_CHARACTERS)], marked, begin)


def _choose_matches(marked: str, found: list[re.Match[str]]) -> tuple[int, int]:
    """Return the first and the last match of the part with the most different ones."""
    different: Counter[str] = Counter()
    words, first = 0, 0
    best, chosen = 0, (0, 0)
    gaps = [len(_WORD.findall(marked, before.end(), after.start())) for before, after in itertools.pairwise(found)]
    own = [len(_WORD.findall(match[1])) for match in found]
    for last, match in enumerate(found):
        different[match[1].casefold()] += 1
        words += own[last] + (gaps[last - 1] if last > first else 0)
        while first < last and (
            words > MAX_EXCERPT_WORDS or match.end() - found[first].start() > MAX_EXCERPT_CHARACTERS // 2
        ):
            word = found[first][1].casefold()
            different[word] -= 1
            if not different[word]:
                del different[word]
            words -= own[first] + gaps[first]
            first += 1
        if len(different) > best:
            best, chosen = len(different), (first, last)
    return chosen


def _extend_back(marked: str, begin: int, words: int) -> int:
    """Return where so many words before a position begin."""
    least = max(begin - MAX_EXCERPT_CHARACTERS // 4, 0)
    starts = [word.start() for word in _WORD.finditer(marked, least, begin)]
    if len(starts) <= words and least == 0:
        return 0
    return starts[-words] if words and len(starts) >= words else (starts[0] if words and starts else begin)


def _extend_forward(marked: str, end: int, words: int) -> int:
    """Return where so many words after a position end."""
    most = min(end + MAX_EXCERPT_CHARACTERS // 4, len(marked))
    ends = [word.end() for word in _WORD.finditer(marked, end, most)]
    if len(ends) <= words and most == len(marked):
        return most
    return ends[words - 1] if words and len(ends) >= words else (ends[-1] if words and ends else end)


def _clean(part: str, marked: str, begin: int = 0) -> Excerpt:
    """Return a part without its marks, with `…` where the message goes on."""
    text = join_characters(part).replace(MATCH_BEGIN, "").replace(MATCH_END, "")
    matches = dict.fromkeys(join_characters(match) for match in _MARKED_MATCH.findall(part))
    before = "…" if begin > 0 else ""
    after = "…" if begin + len(part) < len(marked) else ""
    return Excerpt(f"{before}{text}{after}", tuple(matches))
