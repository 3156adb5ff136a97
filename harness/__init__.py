"""Shared by tests, drills and benchmarks: real gateways in their own processes, and their clients and servers.

`live_gateway` starts, signals and stops a gateway; `command_line` runs its commands like a user at a shell. `faults`
makes serving processes misbehave. `traffic` has clients that never retry; `scripted_model` and `webhook_receiver` are
scripted servers. `waiting` waits for a condition. Nothing here imports a test, a drill or a benchmark.
"""
