"""What is sent of a turn, and what is left out when the server refuses that."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.backends.openai.context import Context, ContextBudgets, build_context
from gateway.backends.openai.failure import ConnectionCut, TemporaryFailure
from gateway.backends.openai.files import GivenFile, GivenFiles, read_new_files, read_old_files
from gateway.backends.openai.inputs import ModelInputs, make_model_key
from gateway.backends.openai.refusal import FilesRefused, PromptTooLong
from gateway.domain.event import Log, Notice
from gateway.domain.file import File
from gateway.domain.ports.backend import FileKind, Turn
from gateway.domain.session import Message
from gateway.domain.transcript import estimate_tokens
from gateway.errors import AgentError, PromptRefused

_INTERNAL_ERROR_STATUS = 500
_NO_KINDS: frozenset[FileKind] = frozenset()


class Plan:
    """The context of a turn. It gets smaller with each refusal, in at most four steps.

    First the files of earlier messages are left out: nobody asks about them now. Then the oldest turns, if the server
    finds the context too long; then the files of this turn; last the whole conversation.
    """

    #: what to send now
    context: Context

    def __init__(self, turn: Turn, history: Sequence[Message], budgets: ContextBudgets, inputs: ModelInputs) -> None:
        self._turn, self._history = turn, history
        self._budgets, self._inputs = budgets, inputs
        self._model = make_model_key(turn.agent, turn.model)
        self._budget = budgets.find_budget(turn)
        #: the kinds that are given in parts, of the files of this turn and of earlier ones
        self._new_kinds = self._old_kinds = inputs.choose_kinds(turn.agent.options, self._model)
        self._is_shortened = False
        #: the files that were left out in the last step, and the error before it
        self._suspects: Sequence[GivenFile] = ()
        self._suspicion: AgentError | None = None

    async def prepare(self) -> None:
        """Build the context.

        Raises:
            AgentError: a file of this turn is gone.
        """
        turn, new = await read_new_files(self._turn, self._new_kinds, self._budget)
        usable = [message for message in self._history if not message.is_refused]
        room = self._budget - estimate_tokens(turn.input) - sum(one.tokens for one in new)
        old = await read_old_files(turn, usable, self._old_kinds, room, self._was_refused)
        self.context = build_context(turn, usable, self._budget, GivenFiles(new, old))

    def _was_refused(self, file: File) -> bool:
        return self._inputs.was_refused(self._model, file)

    def note_answer(self) -> None:
        """Remember which files the server took, and which it seems to have refused."""
        taken = {one.kind for one in (*self.context.new_files, *self.context.old_files)}
        self._inputs.note_taken(self._model, taken)
        takes_none = isinstance(self._suspicion, FilesRefused) and not self._suspicion.blames_content
        kinds = {one.kind for one in self._suspects} - taken if takes_none else ()
        self._inputs.note_refused(self._model, [one.file for one in self._suspects], kinds)

    async def leave_out(self, error: AgentError) -> Log | None:
        """Leave out what the server may refuse, and return the remark; None if there is nothing more to try.

        Raises:
            AgentError: a file of this turn is gone.
        """
        sent = self.context
        self._suspects, self._suspicion = (), error
        if _may_concern_files(error) and sent.old_files:
            self._suspects, self._old_kinds = sent.old_files, _NO_KINDS
            await self.prepare()
            return _tell(error, "without the files of earlier messages", Notice.CONTEXT_SHORTENED)
        if isinstance(error, PromptTooLong) and (left_out := await self._shorten(error)):
            return _tell(error, f"without {left_out}", Notice.CONTEXT_SHORTENED)
        if _may_concern_files(error) and sent.new_files:
            self._suspects, self._new_kinds = sent.new_files, _NO_KINDS
            await self.prepare()
            return _tell(error, "with the names of the attached files in their place")
        if not isinstance(error, PromptTooLong) and isinstance(error, PromptRefused) and self._history:
            self._history = ()
            await self.prepare()
            if self.context.messages != sent.messages:
                return _tell(error, "without the conversation so far", Notice.CONTEXT_SHORTENED)
        return None

    async def _shorten(self, error: PromptTooLong) -> str:
        """Keep to a smaller budget; return what does not fit into it, or "" if that changes nothing."""
        sent = self.context
        budget = self._budgets.reduce_budget(self._turn, sent, error)
        if self._is_shortened:
            return ""
        self._is_shortened, self._budget = True, budget
        await self.prepare()
        if left_out := self.context.left_out - sent.left_out:
            return f"the {left_out} oldest turns"
        return "the texts of some files" if self.context.messages != sent.messages else ""


def _may_concern_files(error: AgentError) -> bool:
    """Return whether the files of a request may be why it failed.

    Some servers break at parts that they do not know, or at a request of that size.
    """
    if isinstance(error, TemporaryFailure):
        return error.server_status == _INTERNAL_ERROR_STATUS or isinstance(error, ConnectionCut)
    return isinstance(error, PromptRefused)


def _tell(error: AgentError, how: str, notice: Notice | None = None) -> Log:
    return Log(level="warning", message=f"{error.message.rstrip('.')}; trying once more {how}.", notice=notice)
