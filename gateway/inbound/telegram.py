"""The webhook of a Telegram bot whose messages an agent reads but does not answer: https://core.telegram.org/bots/api#setwebhook.

The secret is a header, so a stranger is refused before the body is read. To answer in the chat, use the
channel `telegram`.
"""

from __future__ import annotations

from gateway.errors import InvalidRequest
from gateway.inbound import Headers, ParsedWebhook, Payload, Provider, Secrets
from gateway.security import signatures

WEBHOOK_SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105 a header's name


def check_headers(headers: Headers, secrets: Secrets, now: int) -> None:
    sent = signatures.require_header(headers, WEBHOOK_SECRET_HEADER)
    if not any(signatures.equals_constant_time(sent, secret) for secret in secrets):
        raise signatures.wrong_signature()


def verify_signature(headers: Headers, body: bytes, secrets: Secrets) -> None:
    """Nothing is left to verify: the body is not signed."""


def read_webhook(headers: Headers, body: bytes, payload: Payload) -> ParsedWebhook:
    number = payload.get("update_id")
    if not isinstance(number, int) or isinstance(number, bool):
        raise InvalidRequest("update_id: a whole number is missing there.")
    kinds = tuple(name for name in payload if name != "update_id")
    message = payload.get("message")
    spoken = isinstance(message, dict) and isinstance(message.get("text"), str)
    return ParsedWebhook(id=str(number), events=kinds, ignore_reason="" if spoken else "it is no message with a text")


PROVIDER = Provider(
    check_headers=check_headers,
    verify_signature=verify_signature,
    read_webhook=read_webhook,
    prompt="{message.text}",
    session="{message.chat.id}",
)
