"""A live line on the terminal that shows what the command waits for, and how long it has waited."""

from __future__ import annotations

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from gateway.security.unsafe_text import replace_unsafe


class Spinner:
    """Shown on stderr inside its `with` block, or until `stop_showing`. Then the line is removed."""

    def __init__(self, what: str) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task(replace_unsafe(what))
        self._over = False

    def __enter__(self) -> Spinner:
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()

    def set_text(self, what: str) -> None:
        self._progress.update(self._task, description=replace_unsafe(what))

    def print_above(self, text: str) -> None:
        self._progress.console.print(Text(replace_unsafe(text), style="dim"))

    def pause_showing(self) -> None:
        self._progress.stop()

    def resume_showing(self) -> None:
        if not self._over:
            self._progress.start()

    def stop_showing(self) -> None:
        self._over = True
        self._progress.stop()
