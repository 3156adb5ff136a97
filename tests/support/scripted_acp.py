"""A program that speaks ACP and follows directives in its prompt; it needs only Python.

It has the directives of `scripted_agent`, and these:

    [[ask TEXT]]     ask permission for TEXT, and answer the choice
    [[offer KINDS]]  like ask, with only these choices
    [[tempt NAME]]   ask permission for a plan; the option for "always" has this name
    [[beg N]]        ask permission N times at once; then answer
    [[answer JSON]]  answer the prompt with this message, and its id
    [[sulk TEXT]]    like ask, and end without an answer
    [[form JSON]]    elicit a form with these parameters, and answer the response as JSON
    [[able]]         answer the capabilities of the client as JSON
    [[tool NAME]]    use a tool; then answer its name
    [[deaf N MS]]    like slow, but ignore a cancel
    [[stray]]        start a child in a new process session, and answer its PID
    [[cost]]         report the cost of the session so far: a dollar per prompt
    [[cut WHY TEXT]] answer TEXT, then end the turn because of WHY
    [[balk]]         report the cost, then end the turn as refused
    [[endless]]      report an infinite cost
    [[half]]         answer half a character, and use a tool with it
    [[hangup]]       answer, then close the pipe and stay alive
    [[replay FILE]]  tell what a file there has in JSON lines: `update`; `ask` (permission for a tool call);
                     `wait` (hang until the turn is cancelled); `fail` (with an error); `result` (of the prompt)
    [[switch MODE]]  change to the mode; then answer
    [[widen MODE]]   ask permission; when it is given for always, change to the mode; then answer
    [[mutter TEXT]]  write TEXT to standard error, then be silent until it is cancelled
    [[print TEXT]]   write TEXT to standard output, as no message, and answer
    [[retry STATUS N MS]] tell N failed tries as claude-agent-acp does, the last with a pause of MS, then be silent
    [[notice TEXT]]  send notifications that are not in the protocol, the last one a notice of TEXT; then answer
    [[broken TEXT]]  tell TEXT as codex-acp does when the model has failed: as an answer
    [[blocks]]       answer the blocks of the prompt as JSON
    [[meta]]         answer the `_meta` of the prompt as JSON
    [[show JSON]]    answer with this block

A session's memory is a file in its working directory. A file `busy-PID` there means that this process
works. `--no-load`: sessions cannot be loaded again. `--blank`: a session that is loaded again has no history.
`--late`: its history comes after the answer. `--no-auth`: requires a sign-in first. `--held`: writes `held-PID` there
at its start, and continues when there is a file `go`. `--weak N`: the first N processes that start there end at once.
`--odd`: the id of the model option differs from its category. `--modes A,B`: offers these modes, and begins in the
first one. `--mode-option A,B`: the same as an option. `--picky`: takes no mode. `--drift MODE`: it changes to the mode
when its model is set. `--closes`: it can close sessions, and writes their ids to the file `closed`. `--stiff`: sets no
option, and does not say so. `--name NAME`: calls itself so. `--models A,B`: offers these models for
`session/set_model`, and begins with the first one. `--model-names A,B`: offers models with these names as an option, in
place of `small` and `large`; their values are `id-A` and `id-B`, and no other is taken. `--takes A,B`: takes these in
prompts: `image`, `audio`, `embeddedContext`. While there is a file `blind` in its directory, its model takes no files.
`--keeps`: a prompt that fails for that stays in its conversation.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_DIRECTIVE = re.compile(r"\[\[(\w+)\s*(.*?)\]\]", re.DOTALL)
_MEGABYTE = "x" * 1_000_000
_LOCK = threading.Lock()
OPTION = "llm" if "--odd" in sys.argv else "model"

places: dict[str, Path] = {}
cancelled: dict[str, threading.Event] = {}
#: number of earlier prompts, by session
before: dict[str, int] = {}
answers: dict[int, Any] = {}
#: what the answer to the prompt tells instead of the usage, by session
results: dict[str, Any] = {}
#: the message that answers the prompt, by session
messages: dict[str, dict[str, Any]] = {}
#: the blocks of the last prompt, by session
blocks: dict[str, list[dict[str, Any]]] = {}
#: the `_meta` of the last prompt of each session
metas: dict[str, Any] = {}
#: the sessions whose prompts have had files
with_files: set[str] = set()
#: what the client says that it can do
client: dict[str, Any] = {}
answered = threading.Condition()


def costs(session: str, amount: float) -> None:
    update(session, "usage_update", size=1000, used=10, cost={"amount": amount, "currency": "USD"})


def half(session: str, _: str) -> None:
    begun = {"toolCallId": "t1", "title": "cut", "status": "pending", "rawInput": {"text": "\ud83d"}}
    update(session, "tool_call", **begun)
    say(session, "half \ud83d")


def raw(data: bytes) -> None:
    with _LOCK:
        view = memoryview(data)
        while view:
            view = view[os.write(1, view) :]


def send(**message: Any) -> None:
    raw(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")


def update(session: str, kind: str, /, **about: Any) -> None:
    send(method="session/update", params={"sessionId": session, "update": {"sessionUpdate": kind, **about}})


def say(session: str, text: str) -> None:
    update(session, "agent_message_chunk", content={"type": "text", "text": text})


def ask(session: str, what: str, kinds: Sequence[str] = ("allow_always", "allow_once", "reject_once")) -> str:
    return ask_for(session, {"toolCallId": "t1", "title": what, "kind": "execute"}, kinds)


def ask_for(
    session: str, call: dict[str, Any], kinds: Sequence[str] = ("allow_once", "reject_once"), always: str = "Always"
) -> str:
    number = time.monotonic_ns()
    names = {"allow_always": always}
    options = [{"optionId": kind, "name": names.get(kind, kind), "kind": kind} for kind in kinds]
    send(
        id=number,
        method="session/request_permission",
        params={"sessionId": session, "toolCall": call, "options": options},
    )
    with answered:
        answered.wait_for(lambda: number in answers)
    outcome = answers[number]["outcome"]
    return str(outcome.get("optionId", outcome["outcome"]))


def tempt(session: str, name: str) -> None:
    ask_for(session, {"toolCallId": "t1", "title": "plan"}, ("allow_once", "allow_always", "reject_once"), name)


def beg(session: str, times: str) -> None:
    asking = [threading.Thread(target=ask, args=[session, "go on"]) for _ in range(int(times))]
    for each in asking:
        each.start()
    for each in asking:
        each.join()
    say(session, "begged")


def elicit(session: str, form: str) -> None:
    number = time.monotonic_ns()
    send(id=number, method="elicitation/create", params={"sessionId": session, "mode": "form", **json.loads(form)})
    with answered:
        answered.wait_for(lambda: number in answers)
    say(session, json.dumps(answers[number]))


def remember(session: str) -> int:
    """Count a prompt of this session, and return the number of earlier ones."""
    file = places[session] / session
    count = int(file.read_text()) if file.exists() else 0
    file.write_text(str(count + 1))
    return count


def stream(session: str, argument: str, *, deaf: bool) -> None:
    count, _, pause = argument.partition(" ")
    for number in range(int(count)):
        say(session, f"w{number} ")
        if deaf:
            time.sleep(int(pause) / 1000)
        elif cancelled[session].wait(int(pause) / 1000):
            return


def use_tool(session: str, name: str) -> None:
    begun = {"toolCallId": "t1", "title": name, "kind": "execute", "status": "pending", "rawInput": {"a": 1}}
    update(session, "tool_call", **begun)
    content = [{"type": "content", "content": {"type": "text", "text": "output"}}]
    update(session, "tool_call_update", toolCallId="t1", status="completed", content=content)
    say(session, name)


def replay(session: str, name: str) -> None:
    for line in (places[session] / name).read_text().splitlines():
        match json.loads(line):
            case {"update": told}:
                send(method="session/update", params={"sessionId": session, "update": told})
            case {"ask": call}:
                ask_for(session, call)
            case {"wait": _}:
                cancelled[session].wait()
            case {"fail": why}:
                raise RuntimeError(why)
            case {"result": more}:
                results[session] = more


def show(session: str, shown: str) -> None:
    update(session, "agent_message_chunk", content=json.loads(shown))


def fail(session: str, why: str) -> None:
    raise RuntimeError(why)


def die(session: str, _: str) -> None:
    say(session, "last words")
    os.kill(os.getpid(), signal.SIGKILL)


def mute(_: str, __: str) -> None:
    os.close(1)
    time.sleep(0.1)
    os._exit(0)


def flood(session: str, megabytes: str) -> None:
    for _ in range(100 * int(megabytes)):
        say(session, _MEGABYTE[:10_000])


def noise(_: str, megabytes: str) -> None:
    for _ in range(int(megabytes)):
        sys.stderr.write(_MEGABYTE)


def mutter(session: str, what: str) -> None:
    os.write(2, what.encode() + b"\n")
    cancelled[session].wait()


def retry(session: str, argument: str) -> None:
    status, times, pause = (int(one) for one in argument.split())
    for attempt in range(1, times + 1):
        told = {"type": "system", "subtype": "api_retry", "attempt": attempt, "error": "authentication_failed"}
        told |= {"error_status": status or None, "retry_delay_ms": pause if attempt == times else 1}
        send(method="_claude/sdkMessage", params={"sessionId": session, "message": told})
    cancelled[session].wait()


def notice(session: str, what: str) -> None:
    send(method="scripted/notify", params={"sessionId": session})
    update(session, "of_an_unknown_kind")
    update(session, "notice", severity="warning", title=what, description="soon")
    say(session, "noticed")


def be_broken(session: str, why: str) -> None:
    update(session, "session_info_update", _meta={"codex": {"threadStatus": {"type": "systemError"}}})
    say(session, why)


def be_stubborn(session: str, _: str) -> None:
    if os.fork() == 0:
        threading.Event().wait()
    say(session, f"{os.getpid()} ")
    threading.Event().wait()


def stray(session: str, _: str) -> None:
    child = os.fork()
    if child == 0:
        os.setsid()
        threading.Event().wait()
    say(session, str(child))


def switch(session: str, mode: str) -> None:
    update(session, "current_mode_update", currentModeId=mode)
    say(session, mode)


def widen(session: str, mode: str) -> None:
    if ask(session, "edit") == "allow_always":
        switch(session, mode)
    else:
        say(session, "as before")


def read_argument(name: str, default: str) -> str:
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default


VERBS: dict[str, Callable[[str, str], object]] = {
    "say": say,
    "slow": lambda session, argument: stream(session, argument, deaf=False),
    "deaf": lambda session, argument: stream(session, argument, deaf=True),
    "history": lambda session, _: say(session, f"{before[session]} prompts before"),
    "ask": lambda session, what: say(session, ask(session, what)),
    "sulk": ask,
    "beg": beg,
    "tempt": lambda session, name: (tempt(session, name), say(session, "tempted")),
    "answer": lambda session, message: messages.update({session: json.loads(message)}),
    "form": elicit,
    "able": lambda session, _: say(session, json.dumps(client)),
    "offer": lambda session, kinds: say(session, ask(session, "go on", kinds.split())),
    "tool": use_tool,
    "cut": lambda session, argument: say(session, argument.partition(" ")[2]),
    "cost": lambda session, _: (costs(session, before[session] + 1.0), say(session, "paid")),
    "balk": lambda session, _: costs(session, before[session] + 1.0),
    "endless": lambda session, _: (costs(session, float("inf")), say(session, "paid")),
    "half": half,
    "hang": lambda session, _: cancelled[session].wait(),
    "fail": fail,
    "die": die,
    "mute": mute,
    "bytes": lambda *_: raw(b"\xff\xfe\x80 \xe2\x82\n\x00\n{\n[]\n\xc3\n{}\n"),
    "line": lambda _, megabytes: raw(b"x" * 1_000_000 * int(megabytes) + b"\n"),
    "flood": flood,
    "noise": noise,
    "stubborn": be_stubborn,
    "stray": stray,
    "hangup": say,
    "replay": replay,
    "switch": switch,
    "widen": widen,
    "mutter": mutter,
    "print": lambda session, what: (raw(what.encode() + b"\n"), say(session, "printed")),
    "retry": retry,
    "notice": notice,
    "broken": be_broken,
    "blocks": lambda session, _: say(session, json.dumps(blocks[session])),
    "meta": lambda session, _: say(session, json.dumps(metas[session])),
    "show": show,
}


def prompt(number: int, session: str, text: str) -> None:
    busy = places[session] / f"busy-{os.getpid()}"
    busy.touch()
    before[session] = remember(session)
    try:
        check_files(session)
        found = _DIRECTIVE.search(text)
        if found:
            VERBS[found[1]](session, found[2])
        else:
            say(session, f"echo: {text}")
    except RuntimeError as error:
        send(id=number, error={"code": -32603, "message": "Internal error", "data": {"details": str(error)}})
    else:
        words = len(text.split())
        usage = {"totalTokens": words + 1, "inputTokens": words, "outputTokens": 1}
        reason = "cancelled" if cancelled[session].is_set() else "end_turn"
        reason = "refusal" if found and found[1] == "balk" else reason
        reason = found[2].partition(" ")[0] if found and found[1] == "cut" else reason
        result = {"stopReason": reason, **results.pop(session, {"usage": usage})}
        send(id=number, **messages.pop(session, {"result": result}))
        if found and found[1] == "hangup":
            os.close(1)
    finally:
        busy.unlink(missing_ok=True)


def check_files(session: str) -> None:
    """Fail if the model has a file before it and takes none. With `--keeps`, it then has it in each later prompt."""
    has_files = len(blocks[session]) > 1
    if (has_files or session in with_files) and Path("blind").exists():
        if "--keeps" in sys.argv:
            with_files.add(session)
        raise RuntimeError("Could not process image (400)")
    if has_files:
        with_files.add(session)


def opened(number: int, session: str, cwd: str) -> None:
    if "--no-auth" in sys.argv:
        send(id=number, error={"code": -32000, "message": "Authentication required"})
        return
    places[session] = Path(cwd)
    names = read_argument("--modes", "build,plan").split(",")
    modes = {"currentModeId": names[0], "availableModes": [{"id": name, "name": name} for name in names]}
    about: dict[str, Any] = {"sessionId": session, "modes": modes, "configOptions": mode_options()}
    if "--models" in sys.argv:
        listed = read_argument("--models", "").split(",")
        named = [{"modelId": name, "name": name.title()} for name in listed]
        about["models"] = {"currentModelId": listed[0], "availableModels": named}
    else:
        about["configOptions"].append(model_option(model_values()[0]["value"]))
    send(id=number, result=about)


def model_option(current: str) -> dict[str, Any]:
    about = {"type": "select", "id": OPTION, "name": "Model", "category": "model"}
    return {**about, "currentValue": current, "options": model_values()}


def model_values() -> list[dict[str, str]]:
    if "--model-names" in sys.argv:
        return [{"value": f"id-{name}", "name": name} for name in read_argument("--model-names", "").split(",")]
    return [{"value": name, "name": name} for name in ("small", "large")]


def mode_options(current: str | None = None) -> list[dict[str, Any]]:
    names = [name for name in read_argument("--mode-option", "").split(",") if name]
    if not names:
        return []
    values = [{"value": name, "name": name} for name in names]
    about = {"type": "select", "id": "mode", "name": "Mode", "category": "mode"}
    return [{**about, "currentValue": current or names[0], "options": values}]


def load(number: int, session: str, cwd: str) -> None:
    memory = Path(cwd) / session
    if not memory.exists():
        send(id=number, error={"code": -32002, "message": "no such session"})
        return
    costs(session, float(memory.read_text()))
    if "--late" in sys.argv:
        opened(number, session, cwd)
        threading.Thread(target=repeat_history, args=[session]).start()
        return
    if "--blank" not in sys.argv:
        repeat_history(session)
    opened(number, session, cwd)


def repeat_history(session: str) -> None:
    for text in ("long ago", "later"):
        update(session, "user_message_chunk", content={"type": "text", "text": text})
        time.sleep(0.05)
        say(session, "what was said long ago")


def choose(number: int, params: dict[str, Any]) -> None:
    if params.get("configId") == "mode" and mode_options():
        if "--stiff" not in sys.argv:
            (places[params["sessionId"]] / "mode").write_text(params["value"])
        now = None if "--stiff" in sys.argv else params["value"]
        send(id=number, result={"configOptions": mode_options(now)})
        return
    if params.get("configId", OPTION) != OPTION:
        send(id=number, error={"code": -32602, "message": "no such option"})
        return
    if "--picky" in sys.argv and "modeId" in params:
        send(id=number, error={"code": -32602, "message": "no such mode"})
        return
    value = str(params.get("value") or params.get("modeId") or params.get("modelId"))
    if "--model-names" in sys.argv and value not in [known["value"] for known in model_values()]:
        send(id=number, error={"code": -32602, "message": "no such model"})
        return
    (places[params["sessionId"]] / "chosen").write_text(value)
    file = places[params["sessionId"]] / "mode"
    mode = read_argument("--drift", file.read_text() if file.exists() else "")
    if "configId" in params:
        send(id=number, result={"configOptions": [model_option(str(params.get("value")).lower()), *mode_options(mode)]})
        return
    if "--drift" in sys.argv:
        update(params["sessionId"], "current_mode_update", currentModeId=mode)
    send(id=number, result={})


def heed(message: dict[str, Any]) -> None:
    number, params = message.get("id", 0), message.get("params") or {}
    match message.get("method"):
        case None:
            with answered:
                answers[number] = message.get("result")
                answered.notify_all()
        case "initialize":
            client.update(params.get("clientCapabilities") or {})
            able: dict[str, Any] = {"loadSession": "--no-load" not in sys.argv}
            able["promptCapabilities"] = dict.fromkeys(read_argument("--takes", "").split(","), True)
            able["sessionCapabilities"] = {"close": {}} if "--closes" in sys.argv else {}
            about = {"name": read_argument("--name", "s"), "version": "1.0"}
            send(id=number, result={"protocolVersion": 1, "agentCapabilities": able, "agentInfo": about})
        case "session/new":
            opened(number, f"s-{uuid.uuid4().hex}", params["cwd"])
        case "session/load":
            load(number, params["sessionId"], params["cwd"])
        case "session/close":
            with (places.pop(params["sessionId"]) / "closed").open("a") as file:
                file.write(params["sessionId"] + "\n")
            send(id=number, result={})
        case "session/set_config_option" | "session/set_mode" | "session/set_model":
            choose(number, params)
        case "session/cancel":
            cancelled[params["sessionId"]].set()
        case "session/prompt":
            blocks[params["sessionId"]] = params["prompt"]
            metas[params["sessionId"]] = params.get("_meta")
            text = "".join(part.get("text", "") for part in params["prompt"])
            if "[[stubborn" in text:  # only the main thread may set signal handlers
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            cancelled[params["sessionId"]] = threading.Event()  # before a cancel can be read
            threading.Thread(target=prompt, args=[number, params["sessionId"], text], daemon=True).start()


def hold() -> None:
    Path(f"held-{os.getpid()}").touch()
    while not Path("go").exists():
        time.sleep(0.01)


def be_weak(times: int) -> None:
    died = Path("died")
    before = len(died.read_text()) if died.exists() else 0
    if before < times:
        died.write_text("x" * (before + 1))
        sys.exit("CREATE TABLE workspace failed")


def main() -> None:
    if "--held" in sys.argv:
        hold()
    if "--weak" in sys.argv:
        be_weak(int(sys.argv[sys.argv.index("--weak") + 1]))
    for line in sys.stdin:
        heed(json.loads(line))


if __name__ == "__main__":
    main()
