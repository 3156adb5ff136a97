"""Which files models take: what their agents' `inputs` say; else, what was found by trying."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.backends.openai.memory import Memory
from gateway.backends.openai.options import Input, Options
from gateway.domain.agent import Agent
from gateway.domain.file import File
from gateway.domain.ports.backend import FileKind

#: an agent, whose key may open less than that of another; the URL of its server; and a model, None for the first one
ModelKey = tuple[str, str, str | None]

_KIND_OF_INPUT = {Input.IMAGE: FileKind.IMAGE, Input.FILE: FileKind.PDF, Input.AUDIO: FileKind.AUDIO}


class ModelInputs:
    """Remembers which files models took and refused."""

    def __init__(self) -> None:
        self._kinds: Memory[tuple[ModelKey, FileKind], bool] = Memory()
        #: the SHA-256 of files that a model refused
        self._refused: Memory[tuple[ModelKey, str], bool] = Memory()

    def find_known(self, options: Options, model: ModelKey) -> frozenset[FileKind] | None:
        """Return the kinds that a model takes; None if that has not been tried."""
        if options.inputs is not None:
            return _list_kinds(options.inputs)
        if self._kinds.find((model, FileKind.IMAGE)) is None:
            return None
        return frozenset(kind for kind in FileKind if self._kinds.find((model, kind)))

    def choose_kinds(self, options: Options, model: ModelKey) -> frozenset[FileKind]:
        """Return the kinds to give a model: those that it takes, or may take.

        A document is tried with OpenAI's own server alone: some of the others fail for ever on a part that they do not
        know.
        """
        if options.inputs is not None:
            return _list_kinds(options.inputs)
        tried = {FileKind.IMAGE, FileKind.PDF} if options.is_openai else {FileKind.IMAGE}
        return frozenset(kind for kind in tried if self._kinds.find((model, kind)) is not False)

    def was_refused(self, model: ModelKey, file: File) -> bool:
        """Return whether a model has refused a file of an earlier message."""
        return self._refused.find((model, file.sha256)) is not None

    def note_taken(self, model: ModelKey, kinds: Iterable[FileKind]) -> None:
        for kind in kinds:
            self._kinds.keep((model, kind), True)

    def note_refused(self, model: ModelKey, files: Iterable[File], kinds: Iterable[FileKind]) -> None:
        """Remember the files that a model refused, and the kinds of which it seems to take none."""
        for file in files:
            self._refused.keep((model, file.sha256), True)
        for kind in kinds:
            self._kinds.keep((model, kind), False)


def make_model_key(agent: Agent, model: str | None = None) -> ModelKey:
    """Return the key of an agent's model, or of another one that a turn names."""
    return agent.id, agent.options.base_url, model or agent.model


def _list_kinds(inputs: Iterable[Input]) -> frozenset[FileKind]:
    return frozenset(_KIND_OF_INPUT[one] for one in inputs if one in _KIND_OF_INPUT)
