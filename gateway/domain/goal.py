"""Goals: a run in goal mode asks its agent again and again, in one session, until the goal is reached."""

from __future__ import annotations

#: the last line of an agent's answer when the goal is reached
GOAL_MARKER = "GOAL_COMPLETE"

#: the prompt of each round; it repeats the whole goal, because some agents keep no session
ROUND_PROMPT_TEMPLATE = (
    "{goal}\n"
    "\n"
    "(This is round {round} of at most {rounds}. Work towards the goal above; what was done before is in this"
    " conversation. When the goal is reached, end your answer with a line that holds nothing but " + GOAL_MARKER + "."
    " While it is not reached, leave that line out: you will be asked to go on.)"
)

#: characters that models like to put around a line
_MARKUP_CHARACTERS = " \t*_`#.!"


def build_round_prompt(goal: str, number: int, rounds: int) -> str:
    """Return the prompt of a round, counted from 1."""
    return ROUND_PROMPT_TEMPLATE.format(goal=goal, round=number, rounds=rounds)


def is_reached(reply: str) -> bool:
    """Return whether an answer ends with the line that says that the goal is reached."""
    lines = reply.rstrip().splitlines()
    return bool(lines) and lines[-1].strip(_MARKUP_CHARACTERS) == GOAL_MARKER
