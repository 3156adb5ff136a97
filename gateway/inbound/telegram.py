"""The webhook of a Telegram bot whose messages an agent reads but does not answer: https://core.telegram.org/bots/api#setwebhook.

The secret is a header, so a stranger is refused before the body is read. To answer in the chat, use the
channel `telegram`.
"""

from __future__ import annotations

from gateway.errors import InvalidRequest
from gateway.inbound import Headers, Payload, Posted, Provider, Secrets
from gateway.security import signatures

SECRET = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105 a header's name


def admit(headers: Headers, secrets: Secrets, now: int) -> None:
    sent = signatures.header(headers, SECRET)
    if not any(signatures.same(sent, secret) for secret in secrets):
        raise signatures.wrong()


def verify(headers: Headers, body: bytes, secrets: Secrets) -> None:
    """Nothing is left to verify: the body is not signed."""


def read(headers: Headers, body: bytes, payload: Payload) -> Posted:
    number = payload.get("update_id")
    if not isinstance(number, int) or isinstance(number, bool):
        raise InvalidRequest("update_id: a whole number is missing there.")
    kinds = tuple(name for name in payload if name != "update_id")
    message = payload.get("message")
    spoken = isinstance(message, dict) and isinstance(message.get("text"), str)
    return Posted(id=str(number), events=kinds, idle="" if spoken else "it is no message with a text")


PROVIDER = Provider(admit=admit, verify=verify, read=read, prompt="{message.text}", session="{message.chat.id}")
