"""A webhook endpoint: one entry of `inbound`. It turns a provider's webhooks into runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from gateway import log
from gateway.domain import ids
from gateway.domain.delivery import CHAT_FORMAT, Target
from gateway.domain.inbound import ImmediateReply, InboundMessage, WebhookEndpointSettings
from gateway.domain.ports.channel import ChannelContext
from gateway.domain.run import Run
from gateway.domain.template import Template, TemplateError
from gateway.domain.times import Clock
from gateway.errors import ConfigError, InvalidRequest
from gateway.inbound import ParsedWebhook, Provider, find_providers
from gateway.json_data import surrogates
from gateway.security import secret_sources
from gateway.security.unsafe_text import replace_unsafe
from gateway.validation import suggest_name

#: characters of the id that a provider gives to a webhook
MAX_WEBHOOK_ID_CHARACTERS = 255
#: how many fields a form may have
MAX_FORM_FIELDS = 200
#: the media type of forms
WEBHOOK_FORM_MEDIA_TYPE = "application/x-www-form-urlencoded"

_log = log.get()


class WebhookEndpoint:
    """Verifies and parses the webhooks of one provider, and submits them."""

    def __init__(
        self, name: str, settings: WebhookEndpointSettings, provider: Provider, secrets: Sequence[str], clock: Clock
    ) -> None:
        """Raises:
        ConfigError: a template cannot be parsed; the message names the setting.
        """
        self.name = name
        self.secrets = secrets
        self._settings = settings
        self._provider = provider
        self._clock = clock
        self._prompt = _parse_template(f"inbound.{name}.prompt", settings.prompt or provider.prompt)
        self._session = _parse_template(f"inbound.{name}.session", settings.session or provider.session)
        channel, _, chat = (settings.deliver or "").partition(":")
        self._reply_to = Target(kind=channel, address=chat, format=CHAT_FORMAT, trusted=True) if chat else None

    @property
    def agent(self) -> str | None:
        return self._settings.agent

    @property
    def max_body_bytes(self) -> int:
        return self._settings.max_bytes

    def check_headers(self, headers: Mapping[str, str]) -> None:
        self._provider.check_headers(headers, self.secrets, self._clock() // 1000)

    async def receive(self, headers: Mapping[str, str], body: bytes, context: ChannelContext) -> Run | ImmediateReply:
        self._provider.verify_signature(headers, body, self.secrets)
        payload = _decode_payload(headers, body)
        posted = self._provider.read_webhook(headers, body, payload)
        if posted.immediate_reply is not None:
            return ImmediateReply(body=posted.immediate_reply)
        idle = posted.ignore_reason or self._explain_unwanted_event(posted)
        if idle:
            _log.info("inbound.ignored", channel=self.name, why=idle)
            return ImmediateReply(body={"status": "ignored", "reason": idle})
        run = await context.submit_message(self._build_inbound_message(posted, payload))
        return run if posted.make_run_reply is None else ImmediateReply(body=posted.make_run_reply(run.id))

    def _explain_unwanted_event(self, posted: ParsedWebhook) -> str:
        if not self._settings.events or set(self._settings.events) & set(posted.events):
            return ""
        return f"the event {posted.events[-1] if posted.events else ''!r} is not among inbound.{self.name}.events"

    def _build_inbound_message(self, posted: ParsedWebhook, payload: Mapping[str, Any]) -> InboundMessage:
        if not (1 <= len(posted.id) <= MAX_WEBHOOK_ID_CHARACTERS and posted.id.isprintable()):
            raise InvalidRequest(
                f"the id of the webhook must have 1 to {MAX_WEBHOOK_ID_CHARACTERS} printable characters."
            )
        return InboundMessage(
            id=posted.id,
            chat=_fill_template(f"inbound.{self.name}.session", self._session, payload),
            content=_fill_template(f"inbound.{self.name}.prompt", self._prompt, payload),
            reply_to=self._reply_to or posted.reply_to,
            labels={"event": replace_unsafe(posted.events[-1])} if posted.events else {},
        )


def create_endpoint(
    name: str, settings: WebhookEndpointSettings, environ: Mapping[str, str], clock: Clock
) -> WebhookEndpoint | None:
    """Create the webhook endpoint that the settings describe; None if it has no secret or is disabled.

    Raises:
        ConfigError: a setting is wrong; the message names it.
    """
    where = f"inbound.{name}"
    if not ids.is_slug(name):
        raise ConfigError(f"{where}: a name has only letters, digits and . _ @ - (at most 64 characters).")
    known = find_providers()
    provider = known.get(settings.provider or name)
    if provider is None:
        hint = suggest_name(settings.provider or name, sorted(known))
        raise ConfigError(f'{where}.provider: unknown value "{settings.provider or name}"{hint}')
    endpoint = WebhookEndpoint(name, settings, provider, read_secrets(name, settings, environ), clock)
    if provider.check_secret is not None:
        for secret in endpoint.secrets:
            try:
                provider.check_secret(secret)
            except ConfigError as error:
                raise ConfigError(f"{where}.secret: {error.message}", remedy=error.remedy) from error
    return endpoint if settings.enabled and endpoint.secrets else None


def read_secrets(name: str, settings: WebhookEndpointSettings, environ: Mapping[str, str]) -> list[str]:
    """Return the secrets of a webhook endpoint; an empty list if it has none.

    Raises:
        ConfigError: a secret is blank, or its file cannot be read.
    """
    given = [settings.secret] if isinstance(settings.secret, str) else settings.secret or []
    if any(not secret.strip() for secret in given):
        raise ConfigError(f"inbound.{name}.secret: a blank secret protects nothing.", remedy="Remove it, or set one.")
    if given:
        return given
    where = f"inbound.{name}.secret_file"
    found = secret_sources.find_secret(None, settings.secret_file, settings.secret_env, environ, setting=where)
    return [found] if found else []


def _parse_template(where: str, text: str) -> Template:
    try:
        return Template.parse_text(text)
    except TemplateError as error:
        raise ConfigError(f"{where}: {error}.") from error


def _fill_template(where: str, template: Template, payload: Mapping[str, Any]) -> str:
    try:
        text = template.fill_placeholders(payload)
    except TemplateError as error:
        raise InvalidRequest(f"{where}: {error}.", remedy="Change the template or the payload.") from error
    if not text.strip():
        raise InvalidRequest(
            f"{where}: the payload leaves the text empty.", remedy="Change the template or the payload."
        )
    return text


def _decode_payload(headers: Mapping[str, str], body: bytes) -> Mapping[str, Any]:
    """Decode a body: JSON, a form, or JSON in the field `payload` of a form, as GitHub and Slack send it."""
    if headers.get("Content-Type", "").lower().startswith(WEBHOOK_FORM_MEDIA_TYPE):
        fields = _decode_form_fields(body)
        if "payload" not in fields:
            return fields
        body = fields["payload"].encode()
    try:
        payload = msgspec.json.decode(surrogates.mend_document(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest("the body is not valid JSON, or is nested too deeply.") from error
    if not isinstance(payload, dict):
        raise InvalidRequest("the body is not a JSON object.")
    return payload


def _decode_form_fields(body: bytes) -> dict[str, str]:
    """Decode a form. If a field is there twice, the last one counts."""
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS))
    except ValueError as error:
        raise InvalidRequest("the body is not a form in UTF-8, or has too many fields.") from error
