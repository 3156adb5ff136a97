"""Agents that were made through the API, and the slots that assigned runs hold."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.domain.agent import AgentDraft, AgentEdit, StoredAgent
from gateway.domain.budget import Budget
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.queue import AdmissionRules, AgentLoad
from gateway.domain.run import RunSpec, Source
from gateway.domain.unreadable import RowKind
from gateway.errors import AgentBusy, AgentDisabled, AgentNotFound, Conflict
from gateway.store.sql import event_log, idempotency
from gateway.store.sql.transaction import Reader, Transaction
from gateway.store.sql.unreadable import decode_rows, fetch_row

#: agents that can be stored
MAX_AGENTS = 256

_AGENT_COLUMNS = "id, slug, name, base, model, system_prompt, max_concurrent, enabled, created, updated, budget"
_budget = msgspec.json.Decoder(Budget).decode
_SLOTS_IN_USE = "runs INDEXED BY runs_slots WHERE source = 'assign' AND status IN ('queued', 'running')"


def _decode_agent(row: Sequence[Any]) -> StoredAgent:
    id_, slug, name, base, model, system_prompt, max_concurrent, enabled, created, updated, budget = row
    return StoredAgent(
        id=id_,
        slug=slug,
        name=name,
        base=base,
        model=model,
        system_prompt=system_prompt,
        max_concurrent=max_concurrent,
        enabled=bool(enabled),
        created=created,
        updated=updated,
        budget=None if budget is None else _budget(budget),
    )


def create_agent(tx: Transaction, draft: AgentDraft, base: str, key: IdempotencyKey | None = None) -> StoredAgent:
    earlier = idempotency.find_used(tx, key)
    found = None if earlier is None else _find_agent(tx, earlier)
    if found is not None:
        return found
    number: Any = tx.execute("SELECT count(*) FROM agents").get
    if number >= MAX_AGENTS:
        raise Conflict(f"there are {MAX_AGENTS} agents already.", remedy="Delete one that you do not need.")
    agent = StoredAgent(
        id=str(uuid.uuid4()),
        slug=draft.slug,
        name=draft.name or draft.slug,
        base=base,
        model=draft.model,
        system_prompt=draft.system_prompt,
        max_concurrent=draft.max_concurrent,
        enabled=draft.enabled,
        created=tx.now,
        updated=tx.now,
        budget=draft.budget,
    )
    _require_free_slug(tx, agent)
    row = (*msgspec.structs.astuple(agent)[:-1], _encode_budget(agent.budget))
    tx.execute(f"INSERT INTO agents ({_AGENT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    idempotency.save_key(tx, key, agent.id)
    event_log.note_agent(tx, agent.id, "created")
    return agent


def edit_agent(tx: Transaction, agent_id: str, changes: AgentEdit) -> StoredAgent:
    found = _find_agent(tx, agent_id)
    if found is None:
        raise AgentNotFound(f"there is no agent {agent_id!r}.")
    given = {name: value for name, value in msgspec.structs.asdict(changes).items() if value is not msgspec.UNSET}
    agent = msgspec.structs.replace(found, **given, updated=tx.now)
    _require_free_slug(tx, agent)
    tx.execute(
        "UPDATE agents SET slug = ?, name = ?, base = ?, model = ?, system_prompt = ?, max_concurrent = ?,"
        " enabled = ?, updated = ?, budget = ? WHERE id = ?",
        (
            agent.slug,
            agent.name,
            agent.base,
            agent.model,
            agent.system_prompt,
            agent.max_concurrent,
            agent.enabled,
            agent.updated,
            _encode_budget(agent.budget),
            agent.id,
        ),
    )
    event_log.note_agent(tx, agent.id, "edited")
    return agent


def delete_agent(tx: Transaction, agent_id: str) -> bool:
    tx.execute("DELETE FROM agents WHERE id = ?", (agent_id,))
    if tx.changes_made() == 0:
        return False
    event_log.note_agent(tx, agent_id, "deleted")
    return True


def admit_run(tx: Transaction, spec: RunSpec, admission: AdmissionRules) -> None:
    """Admit a run: its agent must still exist and be enabled, and an assigned run takes a slot.

    Nothing counts the slots: they are the runs themselves, so none can be lost.

    Raises:
        AgentNotFound, AgentDisabled: the agent was deleted or disabled.
        AgentBusy: all slots are taken.
        InvalidRequest: the rules refuse the run.
    """
    if admission.refusal is not None:
        raise admission.refusal
    slots = admission.slots
    if admission.stored:
        agent = _find_agent(tx, spec.agent)
        if agent is None:
            raise AgentNotFound(f"the agent {spec.agent!r} was deleted.")
        if not agent.enabled:
            raise AgentDisabled(f"the agent {agent.slug!r} is disabled.")
        slots = agent.max_concurrent
    if spec.source is Source.ASSIGN:
        taken: Any = tx.execute(f"SELECT count(*) FROM {_SLOTS_IN_USE} AND agent = ?", (spec.agent,)).get
        if taken >= slots:
            raise AgentBusy(
                f"the agent has {taken} tasks, and takes {slots} at a time.", remedy="Assign it when one is done."
            )


def list_agents(reader: Reader) -> list[StoredAgent]:
    rows = reader.execute(f"SELECT {_AGENT_COLUMNS} FROM agents ORDER BY created, id")
    return decode_rows(reader, RowKind.AGENT, rows, _decode_agent, lambda row: (row[0],))


def count_loads(reader: Reader) -> dict[str, AgentLoad]:
    running = _count_by_agent(reader, "runs INDEXED BY runs_running WHERE status = 'running'")
    waiting = _count_by_agent(reader, "runs INDEXED BY runs_waiting WHERE status = 'queued'")
    slots = _count_by_agent(reader, _SLOTS_IN_USE)
    return {
        agent: AgentLoad(running=running.get(agent, 0), queued=waiting.get(agent, 0), slots=slots.get(agent, 0))
        for agent in {*running, *waiting, *slots}
    }


def _count_by_agent(reader: Reader, which: str) -> dict[str, int]:
    return dict(reader.execute(f"SELECT agent, count(*) FROM {which} GROUP BY agent"))


def _find_agent(tx: Transaction, agent_id: str) -> StoredAgent | None:
    rows = tx.execute(f"SELECT {_AGENT_COLUMNS} FROM agents WHERE id = ?", (agent_id,))
    return fetch_row(tx, RowKind.AGENT, rows, _decode_agent, lambda: (agent_id,))


def _encode_budget(budget: Budget | None) -> str | None:
    return None if budget is None else msgspec.json.encode(budget).decode()


def _require_free_slug(tx: Transaction, agent: StoredAgent) -> None:
    if tx.execute("SELECT 1 FROM agents WHERE slug = ? AND id != ?", (agent.slug, agent.id)).get:
        raise Conflict(f"there is an agent with the slug {agent.slug!r} already.", remedy="Choose another slug.")
