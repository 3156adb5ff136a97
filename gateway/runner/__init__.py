"""opencode from a Python script: a task directory, turns that remember, a state, and a Markdown file.

    from gateway.runner import OpenCodeRunner

    runner = OpenCodeRunner(task_name="hello")
    print(runner.run("Say hello in Chinese")["output"])

All calls block; the work is done by a thread that all runners of a process share. Nothing of this
needs a running gateway, and nothing of it is kept by one.
"""

from gateway.runner.runner import OpenCodeRunner, Result, RunState
from gateway.runner.sources import ModelConfig, ModelSource, ModelSourceType

__all__ = ["ModelConfig", "ModelSource", "ModelSourceType", "OpenCodeRunner", "Result", "RunState"]
