"""What people ask and agents do in the showcase: a small team, a few days of work, some of it in other languages."""

from __future__ import annotations

from typing import NamedTuple

from gateway.domain.event import Log, Text, Thinking, Tool, ToolEnd, Usage
from gateway.domain.permission import PERMISSION_CHOICES, PermissionQuestion
from gateway.domain.ports.backend import NewFile, TurnOutput
from gateway.errors import AgentError


class Step(NamedTuple):
    """Something that an agent does, after some seconds of work."""

    seconds: float
    #: what it tells; a question that it asks; why it fails; None means that it never goes on
    does: TurnOutput | PermissionQuestion | AgentError | None


class Asked(NamedTuple):
    """A prompt, and what the agent does with it."""

    #: hours before now
    ago: float
    agent: str
    prompt: str
    steps: list[Step]
    session: str | None = None
    labels: dict[str, str] = {}
    #: path at the receiver of webhooks
    webhook: str | None = None
    held: bool = False
    priority: int = 0


def think(text: str, seconds: float = 3.0) -> Step:
    return Step(seconds, Thinking(delta=text))


def say(text: str, seconds: float = 6.0) -> Step:
    return Step(seconds, Text(delta=text))


def note(message: str, level: str = "warning") -> Step:
    return Step(0.5, Log(level=level, message=message))


def use(name: str, title: str, output: str, seconds: float, *, is_error: bool = False, **args: str) -> list[Step]:
    """Return the steps of one tool call."""
    key = f"{name}-{abs(hash((name, title)))}"
    end = ToolEnd(id=key, name=name, output=output, is_error=is_error, seconds=seconds)
    return [Step(1.2, Tool(id=key, name=name, title=title, args=args)), Step(seconds, end)]


def used(read: int, written: int, cost: float, cached: int = 0) -> Step:
    return Step(0.1, Usage(input=read, output=written, cached=cached, cost=cost))


def ask(action: str) -> Step:
    return Step(4.0, PermissionQuestion(action=action, choices=PERMISSION_CHOICES))


def make_file(name: str, text: str) -> Step:
    return Step(2.0, NewFile(name=name, media_type="", content=text.encode()))


def fail(reason: str, seconds: float = 9.0) -> Step:
    return Step(seconds, AgentError(reason))


FOREVER = Step(0, None)

REVIEW = """\
The change is sound; **two things** should be mended before it is merged.

1. `parse_range` accepts `bytes=5-2`. RFC 9110 calls that range invalid: the header must be ignored.
2. The test `test_a_range_is_answered` passes on the old code, too. It never reads the body.

```python
def parse_range(header: str, size: int) -> range | None:
    first, _, last = header.removeprefix("bytes=").partition("-")
    if not first.isdigit() or (last and int(last) < int(first)):
        return None
    return range(int(first), min(int(last or size - 1), size - 1) + 1)
```

| file | lines | verdict |
|---|---:|---|
| `http/range.py` | 41 | one case is missing |
| `http/static.py` | 12 | good |
| `tests/test_range.py` | 88 | reads no body |

Everything else is clear and well tested. ~~The cache header is missing~~: it comes from the proxy.
"""
PLAN = """\
## Moving the archive

The old archive holds 212 GB in 1.4 million files. Copying it in one go would take nine hours, and nobody could write
meanwhile. So:

1. Copy while everybody works (`rsync --archive --hard-links`), twice.
2. Stop the writers for the **last** pass, about four minutes.
3. Compare 2,000 random files by their hash.
4. Switch the mount, start the writers, keep the old disk for a week.

> If step 3 finds a difference, nothing has happened yet: start the writers again on the old disk.
"""
MORNING = """\
Good morning. Since yesterday evening:

- **14 pull requests** were merged, 3 wait for a review (the oldest since Tuesday).
- The nightly build is green again; `flaky_socket_test` failed once and passed when repeated.
- Two customers wrote about slow exports. Both use more than 50,000 rows; the ticket is [EX-311](https://example.org/EX-311).

Today: *the release candidate*, and the talk at three.
"""
CHINESE = "已完成：共检查 128 个文件，其中 3 个缺少许可证声明，已补上并提交。"  # noqa: RUF001
GERMAN = "Die Rechnung **2026-1107** stimmt: 14 Positionen, Summe 8.412,50 €. Der Entwurf liegt bei."
ARABIC = "تم تحديث الترجمة العربية: ٤٢ سلسلة جديدة، ولا توجد أخطاء."


def build_history() -> list[Asked]:
    """Return what was asked and has ended, oldest first."""
    return [
        Asked(
            44,
            "atlas",
            "Plan how we move the archive to the new disk without stopping everybody for a day.",
            [
                think("How large is it, and who writes to it? Look before planning."),
                *use("bash", "du -sh /srv/archive", "212G\t/srv/archive", 41.0, command="du -sh /srv/archive"),
                *use("bash", "find /srv/archive | wc -l", "1413882", 74.0, command="find /srv/archive -type f | wc -l"),
                say(PLAN, 22),
                used(18_400, 2_210, 0.1312, 11_000),
            ],
            session="archive",
            labels={"project": "archive"},
        ),
        Asked(
            41,
            "scout",
            "请检查仓库里所有源文件的许可证声明，缺少的补上。",  # noqa: RUF001
            [*use("grep", "SPDX-License-Identifier", "125 of 128 files", 2.4), say(CHINESE), used(5_120, 310, 0)],
            session="licences",
        ),
        Asked(
            30,
            "atlas",
            "Copy the archive for the first time (step 1 of the plan).",
            [
                *use("bash", "rsync, first pass", "sent 211.8G bytes  6.4M bytes/sec", 380.0, command="rsync -aH …"),
                say("The first pass is done: 1,413,882 files in 9 h 12 min. 311 files changed meanwhile."),
                used(3_300, 140, 0.0124),
            ],
            session="archive",
            labels={"project": "archive"},
            webhook="ok",
        ),
        Asked(
            26,
            "ledger",
            "Prüfe die Rechnung 2026-1107 gegen die Bestellung und schreibe den Antwortbrief.",
            [
                *use("read_file", "2026-1107.pdf", "14 Positionen, Summe 8.412,50 €", 1.1),
                make_file("antwort.md", "# Sehr geehrte Frau Özdemir,\n\nvielen Dank für Ihre Rechnung.\n"),
                make_file("positionen.csv", "nr,betrag\n1,412.50\n2,8000.00\n"),
                say(GERMAN),
                used(9_870, 640, 0.0412),
            ],
            session="rechnungen",
            webhook="ok",
        ),
        Asked(
            23,
            "atlas",
            "Update the container images of the staging cluster and watch the rollout.",
            [
                *use("kubectl", "get deployments", "api, worker, web", 1.4),
                *use("kubectl", "rollout status deployment/worker", "error: timed out", 180.0, is_error=True),
                note("the worker does not become ready: image not found"),
                fail("the rollout of deployment/worker timed out after 3m: ImagePullBackOff for worker:2026.11.2"),
            ],
            labels={"project": "release", "team": "platform"},
            webhook="gone",
        ),
        Asked(
            22.4,
            "atlas",
            "Update the container images of the staging cluster and watch the rollout; the tag is 2026.11.3.",
            [
                *use("kubectl", "set image deployment/worker", "deployment.apps/worker image updated", 2.0),
                *use("kubectl", "rollout status deployment/worker", "successfully rolled out", 48.0),
                say("All three deployments run `2026.11.3`. The worker took 48 s; no pod restarted."),
                used(4_150, 220, 0.0188, 2_000),
            ],
            labels={"project": "release", "team": "platform"},
            webhook="gone",
        ),
        Asked(
            15,
            "scout",
            "راجع الترجمة العربية لصفحة البداية.",
            [say(ARABIC), used(1_900, 160, 0)],
            session="translations",
        ),
        Asked(
            8,
            "atlas",
            "Review pull request 482: byte ranges for static files.",
            [
                think("Read the diff first, then the clause on ranges in RFC 9110."),
                *use("git_diff", "main...ranges", "3 files changed, 141 insertions(+)", 0.8),
                *use("read_file", "http/range.py", "41 lines", 0.2, path="http/range.py"),
                ask("Run the tests of this branch: `pytest tests/test_range.py`"),
                *use(
                    "bash", "pytest tests/test_range.py", "8 passed in 0.62s", 3.9, command="pytest tests/test_range.py"
                ),
                say(REVIEW, 31),
                used(24_900, 1_870, 0.1544, 16_200),
            ],
            session="pull request 482",
            labels={"project": "release", "repository": "static-server"},
            webhook="ok",
        ),
        Asked(
            4,
            "ledger",
            "Compare the exports of October and November; list customers whose total fell by more than a fifth.",
            [
                *use("sql", "SELECT customer, sum(total) …", "2,914 rows", 6.2),
                make_file(
                    "fallen-totals.csv", "customer,october,november\nMéridien SARL,9120,4011\nOak & Sons,700,212\n"
                ),
                say("Nine of 2,914 customers fell by more than a fifth. *Méridien SARL* fell most: 9,120 to 4,011."),
                used(7_700, 540, 0.0331),
            ],
            labels={"project": "exports"},
        ),
        Asked(
            2.5,
            "atlas",
            "Why does the export of more than 50,000 rows take minutes?",
            [
                think("It is quick below that number, so something changes there: a sort in memory, or a plan."),
                *use("sql", "EXPLAIN QUERY PLAN …", "SCAN orders; USE TEMP B-TREE FOR ORDER BY", 0.4),
                say(
                    "The planner gives up the index `orders_by_day` once the list of ids is long, and sorts 1.2 million"
                    " rows. With `INDEXED BY orders_by_day` the same export takes **0.8 s** in place of 171 s."
                ),
                used(12_300, 980, 0.0841, 6_000),
            ],
            session="slow exports",
            labels={"project": "exports", "ticket": "EX-311"},
            webhook="busy",
        ),
        Asked(
            1.2,
            "scout",
            "Fetch the changelog of the four libraries that we pin, and say what breaks for us.",
            [say("Three of the four break nothing."), used(3_000, 90, 0)],
            labels={"project": "release"},
        ),
    ]


def build_present() -> list[Asked]:
    """Return what is at work, waits, or is held now."""
    return [
        Asked(
            0.06,
            "atlas",
            "Copy what has changed in the archive meanwhile (step 2 of the plan), then compare 2,000 random files.",
            [
                think("311 files changed; the second pass is short."),
                *use("bash", "rsync, second pass", "sent 1.2G bytes", 48.0, command="rsync -aH --delete …"),
                say("The second pass is done. Comparing 2,000 random files by their hash:\n\n- 612 of 2,000 are equal"),
                Step(1, Tool(id="compare", name="bash", title="sha256sum, 2,000 files", args={"paths": "2,000"})),
                FOREVER,
            ],
            session="archive",
            labels={"project": "archive"},
        ),
        Asked(
            0.05,
            "keeper",
            "Remove the old release artefacts from the bucket, keep the last five.",
            [
                *use("list_objects", "releases/", "48 objects, 11.2 GB", 1.9),
                ask("Delete 43 objects below `s3://releases/2025/`: 9.8 GB. This cannot be undone."),
            ],
            session="cleaning",
            labels={"project": "release"},
        ),
        Asked(
            0.04,
            "keeper",
            "Publish release candidate 2 when its tests are green.",
            [ask("Push the tag `v2.0.0-rc.2` to `origin`.")],
            session="release",
            labels={"project": "release"},
        ),
        Asked(0.03, "keeper", "Write the notes of the release from the merged pull requests.", [], session="release",
              labels={"project": "release"}),
        Asked(0.03, "atlas", "Switch the mount to the new disk (step 4).", [], session="archive",
              labels={"project": "archive"}, priority=5),
        Asked(0.02, "ledger", "Send the nine customers a note, after Ada has read it.", [], held=True,
              labels={"project": "exports"}),
        Asked(0.02, "atlas", "Measure the export again with 500,000 rows.", [], held=True,
              labels={"project": "exports"}),
    ]  # fmt: skip


def build_routine() -> list[Asked]:
    """Return what schedules ask."""
    return [
        Asked(0, "atlas", "Say what happened since yesterday evening.", [say(MORNING), used(6_200, 410, 0.041)]),
        Asked(
            0,
            "ledger",
            "Back up the ledger and check that the copy can be read.",
            [say("3 files, 41 MB; the copy can be read."), used(700, 30, 0)],
        ),
        Asked(
            0,
            "scout",
            "Look at the queue of support, and answer what the handbook answers.",
            [say("Two questions; the handbook answers both, so I answered them."), used(2_100, 260, 0)],
        ),
    ]
