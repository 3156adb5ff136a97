"""Finds runs by words of their prompt or answer.

The index of the transcripts finds those of runs that ended with an answer or an error. What has no transcript, which
is a run that has not ended or was cancelled, is found by a look at the prompts of the newest such runs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from gateway.domain.run import Status
from gateway.domain.search import SearchTerm, match_terms
from gateway.store.sql.transaction import Reader

#: messages that match, and prompts without a transcript, that are looked at: the newest
MAX_FOUND_MESSAGES, MAX_SCANNED_PROMPTS = 5_000, 2_000
#: characters that are looked at of one prompt, and of all: Python reads them
MAX_SCANNED_CHARACTERS, MAX_SCANNED_CHARACTERS_OF_ALL = 65_536, 2_000_000
_WITHOUT_TRANSCRIPT = (Status.HELD, Status.QUEUED, Status.RUNNING, Status.CANCELLED)


class FoundText(NamedTuple):
    """The runs that have the words."""

    #: their numbers, in no order
    seqs: tuple[int, ...]
    #: whether all messages and prompts were looked at
    is_complete: bool


def find_runs(reader: Reader, terms: tuple[SearchTerm, ...]) -> FoundText:
    messages = reader.dialect.find_runs_of_messages(reader, terms, MAX_FOUND_MESSAGES)
    prompts, all_scanned = _scan_prompts(reader, terms)
    return FoundText(tuple({*messages, *prompts}), all_scanned and len(messages) < MAX_FOUND_MESSAGES)


def _scan_prompts(reader: Reader, terms: tuple[SearchTerm, ...]) -> tuple[list[int], bool]:
    """Return the runs without a transcript that have the words, and whether all such runs were looked at."""
    arms = " UNION ALL ".join(
        "SELECT seq FROM runs INDEXED BY runs_status WHERE status = ?" for _ in _WITHOUT_TRANSCRIPT
    )
    rows: Any = reader.execute(
        f"SELECT seq,"
        f" CAST(iif(json_valid(spec), substr(json_extract(spec, '$.input'), 1, {MAX_SCANNED_CHARACTERS}), '') AS BLOB)"
        f" FROM runs WHERE seq IN ({arms} ORDER BY seq DESC LIMIT {MAX_SCANNED_PROMPTS}) ORDER BY seq DESC",
        _WITHOUT_TRANSCRIPT,
    )
    found: list[int] = []
    count = characters = 0
    for seq, encoded in rows:
        prompt = encoded.decode(errors="replace")
        count += 1
        characters += len(prompt)
        if characters > MAX_SCANNED_CHARACTERS_OF_ALL:
            return found, False
        if reader.limit is not None:
            reader.limit.check()
        if match_terms(prompt, terms):
            found.append(seq)
    return found, count < MAX_SCANNED_PROMPTS
