"""Drives opencode from a Python script: a task directory, a conversation, its state, and a Markdown file.

    from gateway.runner import OpenCodeRunner

    runner = OpenCodeRunner(task_name="hello")
    print(runner.run("Say hello in Chinese")["output"])

Calls block. All runners of a process share one thread that does the work. A running gateway is neither
needed nor used.
"""

from gateway.runner.runner import OpenCodeRunner, Result, RunState
from gateway.runner.sources import ModelConfig, ModelSource, ModelSourceType

__all__ = ["ModelConfig", "ModelSource", "ModelSourceType", "OpenCodeRunner", "Result", "RunState"]
