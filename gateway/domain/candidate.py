"""Candidates: the agents that may be on this machine, as their backends know them."""

from __future__ import annotations

from msgspec import Struct

from gateway.domain.agent import Agent


class Candidate(Struct, frozen=True, kw_only=True):
    """An agent that may be on this machine. A program is looked up on PATH; a backend looks for its servers itself."""

    #: the name by which users choose it
    name: str
    #: the agent to use if it is here; None for a server that is not here
    agent: Agent | None
    #: the program that must be on PATH; empty for a server
    program: str = ""
    #: the address of a server
    address: str = ""
    #: how to get it, and how to sign in
    install: str
    sign_in: str = ""
    #: a program of the same maker that people often have without `program`
    companion: str = ""
    #: the oldest major version of Node.js that runs it; 0 if it needs none
    oldest_node: int = 0
    #: variables and files, below the home directory, that hold a credential; without any, nobody knows
    keys: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    #: whether a setting or a variable names it: then it comes first
    is_named: bool = False
    #: whether it may be used without being chosen
    is_automatic: bool = True
