"""A program that acts as an agent and follows directives in its prompt; it needs only Python.

The prompt comes on standard input. The program follows one directive in it; without one, the answer is
`echo: <prompt>`:

    [[say TEXT]]     answer TEXT            [[slow N MS]]   answer N words, MS milliseconds before each
    [[history]]      answer the number of earlier prompts in this session
    [[fail TEXT]]    fail with TEXT         [[die]]         die in the middle of the answer
    [[hang]]         never answer           [[mute]]        close standard output, and succeed later
    [[bytes]]        answer bytes that are neither UTF-8 nor JSON
    [[line MB]]      write a line of MB megabytes
    [[flood MB]]     write an answer of MB megabytes
    [[noise MB]]     write MB megabytes to standard error
    [[stubborn]]     start a child; both ignore SIGTERM, and never end

`--jsonl` writes JSON lines: `session`, `text`, `usage`, `error`. `--session ID` continues a session;
its memory is a file in the working directory.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
import uuid
from pathlib import Path
from typing import Any

_DIRECTIVE = re.compile(r"\[\[(\w+)\s*(.*?)\]\]", re.DOTALL)
_MEGABYTE = b"x" * 1_000_000
_JSONL = "--jsonl" in sys.argv


def write(data: bytes, file: int = 1) -> None:
    while data:
        data = data[os.write(file, data) :]


def tell(**line: Any) -> None:
    if _JSONL:
        write(json.dumps(line).encode() + b"\n")


def answer(text: str) -> None:
    if _JSONL:
        tell(text=text)
    else:
        write(text.encode())


def remember() -> int:
    """Count a prompt of this session, and return the number of earlier ones."""
    name = sys.argv[sys.argv.index("--session") + 1] if "--session" in sys.argv else f"s-{uuid.uuid4().hex}"
    file = Path(name)
    before = int(file.read_text()) if file.exists() else 0
    file.write_text(str(before + 1))
    tell(session=name)
    return before


def flood(megabytes: int) -> None:
    line = json.dumps({"text": "x" * 10_000}).encode() + b"\n" if _JSONL else b"x" * 9_999 + b"\n"
    block = line * 100
    for _ in range(megabytes):
        write(block)


def be_stubborn() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.fork()
    answer(f"{os.getpid()} ")
    hang()


def hang() -> None:
    while True:
        time.sleep(3600)


def obey(verb: str, argument: str, before: int) -> None:
    match verb:
        case "say":
            answer(argument)
        case "slow":
            count, _, pause = argument.partition(" ")
            for number in range(int(count)):
                time.sleep(int(pause) / 1000)
                answer(f"w{number} ")
        case "history":
            answer(f"{before} prompts before")
        case "fail":
            tell(error=argument)
            sys.exit(argument)
        case "hang":
            hang()
        case "line" | "flood" | "noise":
            pour(verb, int(argument))
        case _:
            misbehave(verb)


def pour(verb: str, megabytes: int) -> None:
    if verb == "flood":
        flood(megabytes)
        return
    for _ in range(megabytes):
        write(_MEGABYTE, 1 if verb == "line" else 2)


def misbehave(verb: str) -> None:
    match verb:
        case "die":
            answer("last words")
            os.kill(os.getpid(), signal.SIGKILL)
        case "mute":
            os.close(1)
            time.sleep(0.1)
            os._exit(0)
        case "bytes":
            write(b"\xff\xfe\x80 \xe2\x82\n\x00\n{\n\xc3")
        case "stubborn":
            be_stubborn()


def main() -> None:
    prompt = sys.stdin.buffer.read().decode("utf-8", "replace")
    before = remember()
    found = _DIRECTIVE.search(prompt)
    if found:
        obey(found[1], found[2], before)
    else:
        answer(f"echo: {prompt}")
    tell(usage={"input": len(prompt.split()), "output": 1})


if __name__ == "__main__":
    main()
