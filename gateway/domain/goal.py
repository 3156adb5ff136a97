"""Goals: a run in goal mode asks its agent again, in one session, until the goal is reached."""

from __future__ import annotations

#: the line that an agent ends its answer with when the goal is reached
MARK = "GOAL_COMPLETE"

#: what the agent is told in each round; the whole goal each time, for agents that keep no session
WORDING = (
    "{goal}\n"
    "\n"
    "(This is round {round} of at most {rounds}. Work towards the goal above; what was done before is in this"
    " conversation. When the goal is reached, end your answer with a line that holds nothing but " + MARK + "."
    " While it is not reached, leave that line out: you will be asked to go on.)"
)

#: what models put around a line on their own account
_DECORATION = " \t*_`#.!"


def prompt(goal: str, number: int, rounds: int) -> str:
    """Return what the agent is told in a round, counted from 1."""
    return WORDING.format(goal=goal, round=number, rounds=rounds)


def reached(reply: str) -> bool:
    """Tell whether an answer ends with the line that says so."""
    lines = reply.rstrip().splitlines()
    return bool(lines) and lines[-1].strip(_DECORATION) == MARK
