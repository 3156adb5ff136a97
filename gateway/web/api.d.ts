// Types of the HTTP API for the dashboard's comments, made by docs/generate.py. No browser gets this file.

/** What a GET of a path answers. */
export type Answer<P extends string> =
  P extends '/api/agents' ? AgentList :
  P extends '/api/agents/outcomes' ? Outcomes :
  P extends '/api/alerts' ? AlertList :
  P extends '/api/audit' ? AuditList :
  P extends '/api/channels' ? ChannelList :
  P extends '/api/cron' ? JobList :
  P extends '/api/cron/fires' ? LastFires :
  P extends '/api/cron/next' ? Times :
  P extends '/api/deliveries' ? DeliveryList :
  P extends '/api/deliveries/counts' ? Counted :
  P extends '/api/doctor' ? DoctorAnswer :
  P extends '/api/files' ? FileList :
  P extends '/api/fleet' ? FleetAnswer :
  P extends '/api/generations' ? GenerationList :
  P extends '/api/logs' ? LogLines :
  P extends '/api/me' ? Me :
  P extends '/api/permissions' ? AskedList :
  P extends '/api/projects' ? ProjectList :
  P extends '/api/samples' ? SampleList :
  P extends '/api/search' ? FoundList :
  P extends '/api/sessions' ? SessionList :
  P extends '/api/tasks' ? TaskList :
  P extends '/api/tasks/counts' ? TaskCounts :
  P extends '/api/tokens' ? TokenList :
  P extends '/api/unreadable' ? UnreadableList :
  P extends '/api/usage' ? UsageReport :
  P extends '/api/work' ? Work :
  P extends '/health' ? Health :
  P extends '/livez' ? Alive :
  P extends '/readyz' ? Alive :
  P extends `/${string}/${string}/${string}/${string}/${string}` ? any : P extends `/api/cron/${string}/runs` ? FireList :
  P extends `/${string}/${string}/${string}/${string}/${string}` ? any : P extends `/api/files/${string}/info` ? StoredFileAnswer :
  P extends `/${string}/${string}/${string}/${string}/${string}` ? any : P extends `/api/sessions/${string}/history` ? History :
  P extends `/${string}/${string}/${string}/${string}/${string}` ? any : P extends `/api/tasks/${string}/events` ? EventList :
  P extends `/${string}/${string}/${string}/${string}/${string}` ? any : P extends `/api/tasks/${string}/permissions` ? PermissionList :
  P extends `/${string}/${string}/${string}/${string}/${string}` ? any : P extends `/api/tasks/${string}/timeline` ? TimelineAnswer :
  P extends `/${string}/${string}/${string}/${string}` ? any : P extends `/api/agents/${string}` ? AgentAnswer :
  P extends `/${string}/${string}/${string}/${string}` ? any : P extends `/api/cron/${string}` ? JobDetailsAnswer :
  P extends `/${string}/${string}/${string}/${string}` ? any : P extends `/api/deliveries/${string}` ? DeliveryAnswer :
  P extends `/${string}/${string}/${string}/${string}` ? any : P extends `/api/projects/${string}` ? ProjectAnswer :
  P extends `/${string}/${string}/${string}/${string}` ? any : P extends `/api/sessions/${string}` ? SessionWithMessages :
  P extends `/${string}/${string}/${string}/${string}` ? any : P extends `/api/tasks/${string}` ? TaskDetails :
  any;

export type After = {
  "after"?: number;
  "limit"?: number;
};

export type AgentAnswer = {
  "agent": AgentShown;
  "health": HealthShown;
  "models": Array<OfferedChoice> | null;
  "modes": Array<OfferedChoice> | null;
};

export type AgentGone = {
  "status"?: string;
  "failed": number;
};

export type AgentKept = {
  "status"?: string;
  "agent": AgentShown;
};

export type AgentLimitsShown = {
  "host": string;
  "max_concurrent": number;
  "budget": BudgetShown | null;
};

export type AgentList = {
  "agents": Array<AgentShown>;
  "deleted": { [name: string]: string };
};

export type AgentQueueShown = {
  "agent": string;
  "name": string;
  "running": number;
  "dispatched": number;
  "waiting": number;
  "oldest_wait": number;
};

export type AgentReply = {
  "status"?: string;
  "reply": string;
  "files": Array<FileShown>;
  "finish": string | null;
  "session": string;
  "run_id": string;
  "usage": UsageShown;
  "session_restarted"?: boolean;
  "context_shortened"?: boolean;
};

export type AgentShown = {
  "id": string;
  "slug": string;
  "name": string;
  "base": string | null;
  "backend": string;
  "model": string | null;
  "system_prompt": string | null;
  "status": string;
  "current_tasks": number;
  "queued": number;
  "assigned": number;
  "max_concurrent": number;
  "is_enabled": boolean;
  "is_default": boolean;
  "timeout": number;
  "budget": BudgetShown | null;
  "tells_tokens": boolean | null;
  "tells_cost": boolean | null;
  "accepts": Array<string> | null;
  "created_at": string | null;
  "updated_at": string | null;
};

export type AlertItemShown = {
  "kind": string;
  "event": string;
  "subject": string;
  "text": string;
};

export type AlertList = {
  "receivers": Array<string>;
  "open": Array<OpenAlertShown>;
  "messages": Array<AlertMessageShown>;
};

export type AlertMessageShown = {
  "id": string;
  "receiver": string;
  "status": string;
  "alerts": Array<AlertItemShown>;
  "left_out": number;
  "attempt": number;
  "error": string | null;
  "created_at": string;
  "next_at": string | null;
  "finished_at": string | null;
};

export type Alive = {
  "status"?: string;
  "channels"?: { [name: string]: ChannelHealth } | null;
};

export type Ask = {
  "message": string;
  "session"?: string;
  "agentId"?: string | null;
  "model"?: string | null;
  "timeout"?: number | null;
  "attachments"?: Array<Attachment>;
  "wants_files"?: boolean;
};

export type AskedList = {
  "permissions": Array<AskedShown>;
  "next_cursor": string | null;
};

export type AskedShown = {
  "id": string;
  "task": string;
  "action": string;
  "choices": Array<string>;
  "asked_at": string;
  "expires_at": string;
  "answer": string | null;
  "answered_at": string | null;
  "answered_by": string | null;
  "reason": string | null;
  "question": Question | null;
  "content": { [name: string]: string | number | number | boolean | Array<string> } | null;
  "agentId": string;
  "session": string;
};

export type Assigned = {
  "status"?: string;
  "task": TaskShown;
};

export type Assignment = {
  "task_id": string;
  "prompt": string;
};

export type Attachment = {
  "file"?: string | null;
  "name"?: string | null;
  "media_type"?: string | null;
  "data"?: string | null;
};

export type AttemptShown = {
  "number": number;
  "at": string;
  "seconds": number | null;
  "error": string | null;
  "http_status": number | null;
};

export type AuditEntryShown = {
  "id": number;
  "at": string;
  "who_kind": string;
  "who": string;
  "address": string;
  "action": string;
  "target": string;
  "outcome": string;
  "details": { [name: string]: string };
};

export type AuditList = {
  "entries": Array<AuditEntryShown>;
  "next_cursor": string | null;
};

export type BackgroundTasks = {
  "active": number;
  "queued": number;
  "total": number;
};

export type BackupHealth = {
  "last_success_at": string | null;
  "file": string | null;
  "bytes": number | null;
  "lost": number | null;
  "last_failure_at": string | null;
  "error": string | null;
};

export type Batch = {
  "action": BatchAction;
  "ids"?: Array<string> | null;
  "filter"?: StatusFilter | null;
};

export type BatchAction = "cancel" | "retry";

export type BatchAnswer = {
  "status"?: string;
  "changed": Array<string>;
  "refused": Array<RefusedTask>;
  "more": boolean;
};

export type Begun = {
  "status"?: string;
  "generation": number;
};

export type Budget = {
  "runs"?: number | null;
  "tokens"?: number | null;
  "cost"?: number | null;
};

export type BudgetShown = {
  "runs": number | null;
  "tokens": number | null;
  "cost": number | null;
};

export type BudgetState = {
  "of": string;
  "id": string;
  "name": string;
  "limits": BudgetShown;
  "used": BudgetShown;
  "left": BudgetShown;
  "unknown": Array<string>;
  "over": boolean;
};

export type By = "agent" | "day" | "schedule";

export type ChangedAgent = {
  "slug"?: string;
  "name"?: string;
  "base"?: string;
  "model"?: string | null;
  "system_prompt"?: string | null;
  "max_concurrent"?: number;
  "budget"?: Budget | null;
  "is_enabled"?: boolean;
};

export type ChangedProject = {
  "name"?: string | null;
  "note"?: string | null;
};

export type ChannelHealth = {
  "state": string;
  "last_poll_at": string | null;
  "last_send_at": string | null;
};

export type ChannelList = {
  "channels": Array<ChannelShown>;
};

export type ChannelShown = {
  "name": string;
  "kind": string;
  "state": string;
  "detail": string;
  "chats": Array<ChatShown>;
  "last_poll_at": string | null;
  "last_success_at": string | null;
  "last_error_at": string | null;
  "last_error": string | null;
  "recent": Array<SendShown>;
};

export type ChannelStarted = {
  "status"?: string;
};

export type ChatShown = {
  "chat": string;
  "title": string;
  "paired_at": string | null;
};

export type Code = {
  "status"?: string;
  "code": string;
  "expires_at": string;
};

export type CodeMade = {
  "code": string;
  "expires_at": string;
};

export type Complaint = {
  "code": string;
  "message": string;
  "details"?: { [name: string]: any };
};

export type Counted = {
  "pending": number;
  "sending": number;
  "delivered": number;
  "dead": number;
  "exact": boolean;
};

export type DefaultAgent = {
  "id": string;
  "backend": string;
  "origin": "config" | "fallback" | "found";
  "ok": boolean | null;
  "introduction": string;
};

export type Deleted = {
  "status"?: string;
};

export type Deliver = {
  "channel": string;
  "chat_id": string;
};

export type DeliveryAnswer = {
  "status"?: string;
  "delivery": DeliveryShown;
  "attempts": Array<AttemptShown>;
};

export type DeliveryList = {
  "deliveries": Array<DeliveryShown>;
  "next_cursor": string | null;
};

export type DeliveryShown = {
  "id": string;
  "status": string;
  "task": string;
  "kind": string;
  "address": string;
  "format": string;
  "attempt": number;
  "next_at": string | null;
  "error": string | null;
  "created_at": string;
  "finished_at": string | null;
};

export type DeliveryStatus = "dead" | "delivered" | "pending" | "sending";

export type DoctorAnswer = {
  "ok": boolean;
  "findings": Array<DoctorFinding>;
  "checked_at": string;
};

export type DoctorFinding = {
  "check": string;
  "level": "error" | "ok" | "warning";
  "finding": string;
  "cause"?: string | null;
  "remedy"?: string | null;
};

export type End = {
  "kind": "end";
  "status": string;
  "outcome": string;
  "result"?: string | null;
  "finish"?: string | null;
  "error"?: string | null;
};

export type EndShown = {
  "task": string;
  "status": string;
  "outcome": string | null;
  "finished_at": string;
  "seconds": number | null;
};

export type ErrorAnswer = {
  "error": Complaint;
};

export type EventList = {
  "events": Array<EventShown>;
  "status": string;
};

export type EventShown = {
  "id": number;
  "at": string;
  "data": StatusEvent | Text | Thinking | Tool | ToolEnd | Usage | Permission | Log | MadeFile | End;
};

export type FieldType = "boolean" | "choice" | "integer" | "number" | "text";

export type FileAnswer = {
  "file": FileShown;
};

export type FileDeleted = {
  "status"?: string;
};

export type FileList = {
  "files": Array<StoredFileShown>;
  "space": FileSpace;
  "next_cursor": string | null;
};

export type FileShown = {
  "id": string;
  "name": string;
  "media_type": string;
  "size": number;
  "sha256": string;
};

export type FileSpace = {
  "used": number;
  "quota": number;
  "size": number;
  "message_size": number;
  "per_message": number;
};

export type FireList = {
  "runs": Array<FireShown>;
  "next_cursor": string | null;
};

export type FireShown = {
  "scheduled_for": string;
  "at": string;
  "outcome": string;
  "run_id": string | null;
  "run_status": string | null;
  "error": string | null;
};

export type FleetAnswer = {
  "fleet": FleetShown | null;
};

export type FleetHealth = {
  "members": number;
  "leads": boolean;
  "leader": string | null;
};

export type FleetShown = {
  "at": string;
  "answered_by": string;
  "clock_ahead_ms": number;
  "commit_lag_ms": number | null;
  "nodes": Array<NodeShown>;
  "queues": Array<AgentQueueShown>;
  "differing_limits": Array<LimitsDifference>;
};

export type Force = {
  "force"?: boolean;
};

export type FoundList = {
  "results": Array<FoundShown>;
  "next_cursor": string | null;
};

export type FoundShown = {
  "session": string;
  "agentId": string;
  "role": string;
  "at": string;
  "run_id": string;
  "snippet": string;
  "matches": Array<string>;
};

export type From = {
  "after"?: number | null;
};

export type GenerationList = {
  "generations": Array<GenerationShown>;
};

export type GenerationShown = {
  "generation": number;
  "instance": string;
  "version": string;
  "pid": number;
  "started_at": string;
  "ready_at": string;
  "ended_at": string | null;
  "reason": string | null;
};

export type Given = {
  "answer": PermissionDecision;
  "content"?: { [name: string]: string | number | number | boolean | Array<string> } | null;
};

export type GroupShown = {
  "kind": string;
  "title": string;
  "attempt": number;
  "started_at": string;
  "ended_at": string | null;
  "status": string;
  "first_event": number | null;
  "last_event": number | null;
  "detail": string | null;
  "error": string | null;
};

export type Health = {
  "ok"?: boolean;
  "packs"?: Array<string>;
  "model"?: string;
  "tasks"?: BackgroundTasks | null;
  "status": "degraded" | "healthy";
  "uptime": number;
  "version": string;
  "instance"?: string;
  "generation"?: number;
  "agent"?: DefaultAgent | null;
  "checks"?: { [name: string]: string };
  "channels"?: { [name: string]: ChannelHealth } | null;
  "fleet"?: FleetHealth | null;
  "backup"?: BackupHealth;
};

export type HealthShown = {
  "ok": boolean;
  "version": string;
  "detail": string;
  "missing": string;
};

export type History = {
  "sessionKey": string;
  "messages": Array<MessageShown>;
  "next_cursor": string | null;
};

export type HowMany = {
  "limit"?: number;
  "cursor"?: string | null;
  "render"?: "html" | null;
};

export type HowToShow = {
  "render"?: "html" | null;
};

export type JobAnswer = {
  "status"?: string;
  "job": JobShown;
};

export type JobDetails = {
  "id": string;
  "name": string;
  "schedule": string;
  "timezone": string;
  "prompt": string;
  "attachments": Array<FileShown>;
  "agentId": string | null;
  "session": string | null;
  "fresh": boolean;
  "model": string | null;
  "timeout": number | null;
  "enabled": boolean;
  "reason": string | null;
  "deliver": { [name: string]: string } | null;
  "webhook": string | null;
  "misfire": string;
  "overlap": string;
  "max_age": number | null;
  "jitter": number;
  "failures": number;
  "max_failures": number;
  "budget": BudgetShown | null;
  "next_run": string | null;
  "last_run": string | null;
  "last_status": string | null;
  "last_run_id": string | null;
  "missed": number;
  "skipped": number;
  "skip_reason": string | null;
  "created_at": string;
  "updated_at": string;
  "next_runs": Array<string>;
};

export type JobDetailsAnswer = {
  "status"?: string;
  "job": JobDetails;
};

export type JobFields = {
  "name"?: string;
  "schedule"?: string;
  "cron"?: string;
  "timezone"?: string;
  "prompt"?: string;
  "message"?: string;
  "attachments"?: Array<Attachment>;
  "agentId"?: string | null;
  "session"?: string | null;
  "fresh"?: boolean;
  "model"?: string | null;
  "timeout"?: number | null;
  "enabled"?: boolean;
  "deliver"?: Deliver | null;
  "webhook"?: string | null;
  "webhook_secret"?: string | null;
  "misfire"?: Misfire;
  "overlap"?: Overlap | null;
  "max_age"?: number | null;
  "jitter"?: number;
  "max_failures"?: number;
  "budget"?: Budget | null;
};

export type JobList = {
  "jobs": Array<JobShown>;
  "next_cursor": string | null;
};

export type JobShown = {
  "id": string;
  "name": string;
  "schedule": string;
  "timezone": string;
  "prompt": string;
  "attachments": Array<FileShown>;
  "agentId": string | null;
  "session": string | null;
  "fresh": boolean;
  "model": string | null;
  "timeout": number | null;
  "enabled": boolean;
  "reason": string | null;
  "deliver": { [name: string]: string } | null;
  "webhook": string | null;
  "misfire": string;
  "overlap": string;
  "max_age": number | null;
  "jitter": number;
  "failures": number;
  "max_failures": number;
  "budget": BudgetShown | null;
  "next_run": string | null;
  "last_run": string | null;
  "last_status": string | null;
  "last_run_id": string | null;
  "missed": number;
  "skipped": number;
  "skip_reason": string | null;
  "created_at": string;
  "updated_at": string;
};

export type LastFires = {
  "jobs": { [name: string]: Array<FireShown> };
  "next_cursor": string | null;
};

export type LimitsDifference = {
  "agent": string;
  "limits": Array<AgentLimitsShown>;
};

export type Log = {
  "kind": "log";
  "level": string;
  "message": string;
  "notice"?: Notice | null;
};

export type LogLines = {
  "lines": Array<any>;
};

export type LogQuery = {
  "lines"?: number;
  "level"?: "debug" | "error" | "info" | "warning";
  "follow"?: boolean;
};

export type MadeFile = {
  "kind": "file";
  "id": string;
  "name": string;
  "media_type": string;
  "size": number;
};

export type Markup = {
  "text": string;
};

export type Me = {
  "name": string;
  "scope": string;
  "expires_at": string | null;
  "signed_in": "cookie" | "none" | "token";
  "in_fleet": boolean;
  "agents": Array<string> | null;
  "sessions": Array<string> | null;
};

export type MessageShown = {
  "role": string;
  "content": string;
  "files": Array<FileShown>;
  "at": string;
  "run_id": string;
  "html"?: string | null;
};

export type Misfire = "all" | "once" | "skip";

export type Mode = "goal" | "turn";

export type NewAgent = {
  "slug": string;
  "name"?: string | null;
  "base"?: string | null;
  "model"?: string | null;
  "system_prompt"?: string | null;
  "max_concurrent"?: number;
  "budget"?: Budget | null;
  "is_enabled"?: boolean;
};

export type NewProject = {
  "slug": string;
  "name"?: string;
  "note"?: string;
};

export type NewTask = {
  "input": string;
  "agentId"?: string | null;
  "session"?: string | null;
  "mode"?: Mode;
  "max_rounds"?: number;
  "model"?: string | null;
  "timeout"?: number | null;
  "priority"?: number;
  "held"?: boolean;
  "run_at"?: string | null;
  "labels"?: { [name: string]: string };
  "parent"?: string | null;
  "webhook"?: string | null;
  "webhook_secret"?: string | null;
  "attachments"?: Array<Attachment>;
  "wants_files"?: boolean;
};

export type NewToken = {
  "name": string;
  "scope"?: Scope;
  "days"?: number | null;
  "agents"?: Array<string> | null;
  "sessions"?: Array<string> | null;
};

export type NodeShown = {
  "name": string;
  "host": string;
  "role": "gateway" | "worker";
  "version": string;
  "agents": Array<string>;
  "slots": number;
  "running": number;
  "leads": boolean;
  "alive": boolean;
  "lease_ends_in": number;
  "started_at": string;
};

export type Nothing = {
};

export type Notice = "context_shortened" | "session_restarted";

export type OfferedChoice = {
  "id": string;
  "name": string;
};

export type Open = {
  "channel"?: string;
  "chat_id"?: string | null;
  "agentId"?: string | null;
};

export type OpenAlertShown = {
  "kind": string;
  "subject": string;
  "text": string;
  "agent": string | null;
  "opened_at": string;
  "told_at": string;
};

export type Opened = {
  "status"?: string;
  "session": SessionShown;
};

export type Option = {
  "value": string;
  "label"?: string;
  "description"?: string;
};

export type Outcomes = {
  "agents": { [name: string]: Array<EndShown> };
};

export type Overlap = "queue" | "queue_one" | "replace" | "skip";

export type OwnTokenUse = {
  "last_used": string | null;
  "last_address": string | null;
  "last_client": string | null;
};

export type Paging = {
  "limit"?: number;
  "cursor"?: string | null;
};

export type Permission = {
  "kind": "permission";
  "id": string;
  "action": string;
  "answer"?: string;
  "choices"?: Array<string>;
  "expires_at"?: string;
  "by"?: string;
  "reason"?: string;
  "question"?: Question | null;
  "content"?: { [name: string]: string | number | number | boolean | Array<string> } | null;
};

export type PermissionAnswer = {
  "status"?: string;
  "permission": PermissionShown;
};

export type PermissionDecision = "allow" | "allow_always" | "answer" | "deny";

export type PermissionList = {
  "permissions": Array<PermissionShown>;
  "next_cursor": string | null;
};

export type PermissionShown = {
  "id": string;
  "task": string;
  "action": string;
  "choices": Array<string>;
  "asked_at": string;
  "expires_at": string;
  "answer": string | null;
  "answered_at": string | null;
  "answered_by": string | null;
  "reason": string | null;
  "question": Question | null;
  "content": { [name: string]: string | number | number | boolean | Array<string> } | null;
};

export type Posted = {
  "event": string;
  "data": { [name: string]: any };
};

export type Preview = {
  "schedule": string;
  "timezone"?: string | null;
  "count"?: number;
};

export type ProjectAnswer = {
  "status"?: string;
  "project": ProjectShown;
};

export type ProjectDeleted = {
  "status"?: string;
};

export type ProjectList = {
  "projects": Array<ProjectShown>;
  "next_cursor": string | null;
};

export type ProjectShown = {
  "slug": string;
  "name": string;
  "note": string;
  "counts": ProjectTaskCounts;
  "created_at": string;
  "updated_at": string;
};

export type ProjectTaskCounts = {
  "held": number;
  "queued": number;
  "running": number;
  "succeeded": number;
  "failed": number;
  "cancelled": number;
};

export type Query = {
  "limit"?: number;
  "cursor"?: string | null;
  "q": string;
  "session"?: string | null;
  "agent"?: string | null;
};

export type Question = {
  "message": string;
  "fields": Array<QuestionField>;
};

export type QuestionField = {
  "name": string;
  "title"?: string;
  "description"?: string;
  "type"?: FieldType;
  "options"?: Array<Option>;
  "multiple"?: boolean;
  "required"?: boolean;
  "custom"?: boolean;
};

export type RefusedTask = {
  "id": string;
  "why": string;
};

export type Renamed = {
  "title": string;
};

export type RenderedMarkup = {
  "html": string;
};

export type Replied = {
  "status"?: string;
  "reply": string;
  "files": Array<FileShown>;
  "finish": string | null;
  "message_id": string;
  "session": string;
  "session_restarted"?: boolean;
  "context_shortened"?: boolean;
};

export type Revoked = {
  "status"?: string;
};

export type RowRemoved = {
  "status"?: string;
};

export type RunStatus = "cancelled" | "failed" | "held" | "queued" | "running" | "succeeded";

export type Said = {
  "status"?: string;
  "message_id": string;
};

export type SampleList = {
  "step_seconds": number;
  "samples": Array<SampleShown>;
};

export type SampleShown = {
  "at": string;
  "running": number;
  "queued": number;
  "ended": number;
  "failed": number;
  "accept_ms": number;
  "memory_bytes": number;
  "cpu_percent": number;
  "loop_lag_ms": number;
  "database_bytes": number;
};

export type Say = {
  "channel": string;
  "chat_id": string;
  "content": string;
  "agentId"?: string | null;
  "accountId"?: "default" | null;
  "attachments"?: Array<Attachment>;
};

export type ScheduleQuery = {
  "job_id": string;
};

export type Scope = "admin" | "read" | "write";

export type SendShown = {
  "at": string;
  "ok": boolean;
};

export type SessionList = {
  "sessions": Array<SessionShown>;
  "next_cursor": string | null;
};

export type SessionRemoved = {
  "status"?: string;
};

export type SessionShown = {
  "key": string;
  "agentId": string;
  "channel": string;
  "chat_id": string;
  "title": string;
  "messages": number;
  "active": number;
  "created_at": string;
  "last_activity": string;
};

export type SessionWithMessages = {
  "session": SessionShown;
  "messages": Array<MessageShown>;
  "next_cursor": string | null;
};

export type SignIn = {
  "code"?: string | null;
  "token"?: string | null;
};

export type SignInDone = {
  "status"?: string;
  "name": string;
  "scope": string;
};

export type SignedOut = {
  "status"?: string;
};

export type SocketFrom = {
  "after"?: number | null;
  "ticket"?: string | null;
};

export type Source = "agent" | "assign" | "background" | "cron" | "hook" | "mcp" | "message" | "openai" | "task" | "webhook";

export type StatusEvent = {
  "kind": "status";
  "status": string;
  "attempt"?: number;
  "reason"?: string;
};

export type StatusFilter = {
  "agent"?: string | null;
  "session"?: string | null;
  "label"?: string | null;
  "source"?: Source | null;
  "parent"?: string | null;
  "text"?: string | null;
  "since"?: string | null;
  "until"?: string | null;
  "status"?: RunStatus | Array<RunStatus> | null;
};

export type StoredFileAnswer = {
  "file": StoredFileShown;
};

export type StoredFileShown = {
  "id": string;
  "name": string;
  "media_type": string;
  "size": number;
  "sha256": string;
  "uses": number;
  "created_at": string;
};

export type Taken = {
  "status"?: string;
  "message_id": string;
};

export type TaskAnswer = {
  "status"?: string;
  "task": TaskShown;
};

export type TaskCounts = {
  "counts": { [name: string]: number };
  "waiting_for_person": number;
  "exact": boolean;
};

export type TaskDetails = {
  "status"?: string;
  "task": TaskShown;
  "deliveries": Array<DeliveryShown>;
  "permissions": Array<PermissionShown>;
  "result_html"?: string | null;
};

export type TaskFilter = {
  "agent"?: string | null;
  "session"?: string | null;
  "label"?: string | null;
  "source"?: Source | null;
  "parent"?: string | null;
  "text"?: string | null;
  "since"?: string | null;
  "until"?: string | null;
};

export type TaskList = {
  "tasks": Array<TaskShown>;
  "next_cursor": string | null;
};

export type TaskQuery = {
  "agent"?: string | null;
  "session"?: string | null;
  "label"?: string | null;
  "source"?: Source | null;
  "parent"?: string | null;
  "text"?: string | null;
  "since"?: string | null;
  "until"?: string | null;
  "status"?: RunStatus | Array<RunStatus> | null;
  "limit"?: number;
  "cursor"?: string | null;
};

export type TaskShown = {
  "id": string;
  "status": string;
  "outcome": string | null;
  "agentId": string;
  "session": string;
  "source": string;
  "submitted_by": string | null;
  "input": string;
  "attachments": Array<FileShown>;
  "mode": string;
  "model": string | null;
  "priority": number;
  "labels": { [name: string]: string };
  "parent": string | null;
  "retry_of": string | null;
  "attempt": number;
  "max_attempts": number;
  "cancel_requested": boolean;
  "waits": WaitShown | null;
  "last_event": number;
  "result": string | null;
  "files": Array<FileShown>;
  "finish": string | null;
  "error": string | null;
  "shortened": boolean;
  "usage": UsageShown;
  "rounds": number | null;
  "done": boolean | null;
  "session_restarted": boolean;
  "context_shortened": boolean;
  "created_at": string;
  "run_at": string | null;
  "started_at": string | null;
  "finished_at": string | null;
};

export type TestResult = {
  "receiver": string;
  "ok": boolean;
  "error": string | null;
};

export type TestResults = {
  "results": Array<TestResult>;
};

export type Text = {
  "kind": "text";
  "delta": string;
};

export type Thinking = {
  "kind": "thinking";
  "delta": string;
};

export type TicketMade = {
  "ticket": string;
  "expires_at": string;
};

export type TimelineAnswer = {
  "task_id": string;
  "status": string;
  "created_at": string;
  "groups": Array<GroupShown>;
  "waited_seconds": number;
  "worked_seconds": number;
  "complete": boolean;
};

export type Times = {
  "schedule": string;
  "timezone": string;
  "times": Array<string>;
};

export type Toggled = {
  "status"?: string;
  "enabled": boolean;
  "next_run": string | null;
};

export type TokenList = {
  "tokens": Array<TokenShown>;
  "own": OwnTokenUse;
};

export type TokenMade = {
  "status"?: string;
  "token": string;
  "name": string;
  "scope": string;
};

export type TokenShown = {
  "name": string;
  "scope": string;
  "created_at": string;
  "expires_at": string | null;
  "browser": string | null;
  "signed_in_with": string | null;
  "last_used": string | null;
  "last_address": string | null;
  "last_client": string | null;
  "agents": Array<string> | null;
  "sessions": Array<string> | null;
};

export type Tool = {
  "kind": "tool";
  "id": string;
  "name": string;
  "args"?: any;
  "title"?: string;
};

export type ToolEnd = {
  "kind": "tool_end";
  "id": string;
  "name": string;
  "is_error"?: boolean;
  "output"?: string;
  "output_file"?: string;
  "seconds"?: number | null;
};

export type Triggered = {
  "status"?: string;
  "message"?: string;
  "run_id": string;
};

export type UnreadableList = {
  "rows": Array<UnreadableShown>;
};

export type UnreadableShown = {
  "kind": string;
  "id": string;
  "reason": string;
  "found_at": string;
};

export type Upload = {
  "name"?: string;
};

export type Usage = {
  "kind": "usage";
  "input"?: number;
  "output"?: number;
  "cached"?: number;
  "cost"?: number;
};

export type UsageReport = {
  "by": string;
  "timezone": string;
  "since": string;
  "until": string;
  "usage": Array<UseShown>;
  "budgets": Array<BudgetState>;
  "resets_at": string;
};

export type UsageShown = {
  "input": number;
  "output": number;
  "cached": number;
  "cost": number;
  "tokens_known": boolean;
  "cost_known": boolean;
};

export type UseShown = {
  "name": string;
  "slug": string | null;
  "runs": number;
  "input": number;
  "output": number;
  "cached": number;
  "cost": number;
  "unpriced": number;
  "uncounted": number;
};

export type View = {
  "download"?: boolean;
};

export type WaitShown = {
  "why": string;
  "until": string | null;
};

export type Wanted = {
  "enabled"?: boolean | null;
};

export type WantedTest = {
  "receiver"?: string | null;
};

export type WhichAlerts = {
  "limit"?: number;
};

export type WhichAsked = {
  "limit"?: number;
  "cursor"?: string | null;
  "waiting"?: boolean | null;
};

export type WhichCounted = {
  "kind"?: string | null;
  "text"?: string | null;
};

export type WhichDeliveries = {
  "limit"?: number;
  "cursor"?: string | null;
  "status"?: DeliveryStatus | null;
  "task"?: string | null;
  "kind"?: string | null;
  "text"?: string | null;
};

export type WhichEntries = {
  "limit"?: number;
  "cursor"?: string | null;
  "who"?: string | null;
  "action"?: string | null;
  "since"?: string | null;
  "after"?: number | null;
};

export type WhichFires = {
  "limit"?: number;
  "cursor"?: string | null;
  "each"?: number;
};

export type WhichGenerations = {
  "limit"?: number;
};

export type WhichJobs = {
  "limit"?: number;
  "cursor"?: string | null;
};

export type WhichOutcomes = {
  "each"?: number;
};

export type WhichPermissions = {
  "limit"?: number;
  "cursor"?: string | null;
};

export type WhichSamples = {
  "since"?: string | null;
  "until"?: string | null;
  "points"?: number;
};

export type WhichSessions = {
  "limit"?: number;
  "cursor"?: string | null;
  "agent"?: string | null;
  "channel"?: string | null;
  "q"?: string | null;
};

export type WhichUsage = {
  "by"?: By;
  "since"?: string | null;
  "until"?: string | null;
  "agent"?: string | null;
};

export type Why = {
  "reason"?: string;
};

export type Work = {
  "running": number;
  "queued": number;
  "stranded": { [name: string]: number };
  "ended": number;
  "pending_deliveries": number;
  "dead_deliveries": number;
  "next_schedule": string | null;
};
