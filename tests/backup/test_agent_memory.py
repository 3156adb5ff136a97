"""What agents' programs remember goes along if asked for, and finds its conversations in moved directories."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from pathlib import Path

from gateway.backup.contents import BackupChoice
from tests.backup.installations import make_installation, restore, write_backup

AGENTS = BackupChoice(agents=True)


def project(workspace: Path) -> str:
    return str(workspace).replace("/", "-").replace(".", "-").replace("_", "-")


def remember(user: Path, home: Path) -> None:
    """Let three programs have conversations in the workspace of a session."""
    workspace = home / "workspaces" / "01abc"
    claude = user / ".claude" / "projects" / project(workspace)
    gemini = user / ".gemini" / "tmp" / hashlib.sha256(str(workspace).encode()).hexdigest() / "chats"
    opencode = user / ".local" / "share" / "opencode"
    for directory in (claude, gemini, opencode / "bin"):
        directory.mkdir(parents=True)
    (claude / "conversation.jsonl").write_text("said")
    (user / ".claude" / ".credentials.json").write_text("secret")
    (gemini / "chat.json").write_text("said")
    (opencode / "auth.json").write_text("secret")
    (opencode / "bin" / "program").write_text("binary")
    with contextlib.closing(sqlite3.connect(opencode / "opencode.db", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE said (words)")


def test_it_is_named_with_its_size_and_left_out_by_default(tmp_path: Path) -> None:
    place = make_installation(tmp_path / "home")
    remember(tmp_path / "user", place.home)

    made = write_backup(place, tmp_path, env={"HOME": str(tmp_path / "user")})

    assert [(one.agent, one.included) for one in made.manifest.agents] == [
        ("opencode", False),
        ("claude", False),
        ("gemini", False),
    ]
    assert all(one.bytes > 0 for one in made.manifest.agents)
    assert "agents" not in made.manifest.parts


def test_conversations_go_along_without_credentials_and_to_the_names_of_moved_directories(tmp_path: Path) -> None:
    place = make_installation(tmp_path / "home")
    remember(tmp_path / "user", place.home)
    made = write_backup(place, tmp_path, AGENTS, env={"HOME": str(tmp_path / "user")})
    new, user = tmp_path / "new" / ".moongate", tmp_path / "other"
    new.parent.mkdir()

    done = restore(made.file, new, env={"HOME": str(user)})

    workspace = new / "workspaces" / "01abc"
    hashed = hashlib.sha256(str(workspace).encode()).hexdigest()
    assert {str(path.relative_to(user)) for path in user.rglob("*") if path.is_file()} == {
        f".claude/projects/{project(workspace)}/conversation.jsonl",
        f".gemini/tmp/{hashed}/chats/chat.json",
        ".local/share/opencode/opencode.db",
    }
    with contextlib.closing(sqlite3.connect(user / ".local/share/opencode/opencode.db")) as database:
        assert database.execute("SELECT count(*) FROM said").fetchone() == (0,)
    assert (done.memories.restored, done.memories.present) == (3, 0)


def test_what_is_there_stays_as_it_is(tmp_path: Path) -> None:
    place = make_installation(tmp_path / "home")
    user = tmp_path / "user"
    remember(user, place.home)
    made = write_backup(place, tmp_path, AGENTS, env={"HOME": str(user)})
    (conversation,) = user.rglob("conversation.jsonl")
    conversation.write_text("newer")
    (chat,) = user.rglob("chat.json")
    chat.unlink()
    (tmp_path / "home").rename(tmp_path / "away")

    done = restore(made.file, tmp_path / "home", env={"HOME": str(user)})

    assert (conversation.read_text(), chat.read_text()) == ("newer", "said")
    assert (done.memories.restored, done.memories.present) == (1, 2)
