"""What tests, drills and benchmarks share: real gateways in processes of their own, and those whom they talk to.

`live_gateway` starts, signals and stops a gateway, and `command_line` is a user at a shell beside it. `faults` makes
serving processes misbehave. `traffic` is clients that never retry; `scripted_model` and `webhook_receiver` are servers
that do what they are told. `waiting` waits for a condition. Nothing here knows a test, a drill or a benchmark.
"""
