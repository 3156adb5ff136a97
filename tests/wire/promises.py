"""What releases promised, as it is kept beside this file, and how it compares with what is there now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: what is promised of each item, by the item's name; null where its being there is all
Items = Mapping[str, Any]

FOLDER = Path(__file__).parent


def releases() -> list[str]:
    """Return the releases whose promises are kept."""
    return sorted(found.name for found in FOLDER.iterdir() if found.name[0].isdigit())


def read(version: str, kind: str) -> Items:
    """Return what a release promised; nothing of a kind that was not collected then."""
    file = FOLDER / version / f"{kind}.json"
    return json.loads(file.read_text("utf-8")) if file.exists() else {}


def write(version: str, kind: str, items: Items) -> None:
    """Keep what a release promises, an item a line."""
    lines = ",\n".join(f"{json.dumps(name)}: {_shown(items[name])}" for name in sorted(items))
    file = FOLDER / version / f"{kind}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"{{\n{lines}\n}}\n", "utf-8")


def broken(promised: Items, found: Items) -> list[str]:
    """Return what is gone or has changed, by name."""
    found = json.loads(json.dumps(found))  # as it would come back from a file
    told = []
    for name, value in promised.items():
        if name not in found:
            told.append(f"gone: {name}")
        elif found[name] != value and not (" query " in name and _takes_more(value, found[name])):
            told.append(f"changed: {name}: was {_shown(value)}, is {_shown(found[name])}")
    return told


def _takes_more(promised: Any, found: Any) -> bool:
    """Return whether a parameter of a query still takes all that it took."""
    rest = {**promised, "anyOf": None}, {**found, "anyOf": None}
    return rest[0] == rest[1] and all(choice in found.get("anyOf", ()) for choice in promised.get("anyOf", ()))


def _shown(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
