"""Moongate as an ACP agent: editors talk to the sessions of the gateway through a pipe.

An ACP session is a session of the gateway, a prompt is a run, and a mode is an agent. Nothing is kept here that
the gateway does not have: the editor and this process may end at any time.

Format of the pipe: https://agentclientprotocol.com/protocol/v1/overview (version 1).
"""
