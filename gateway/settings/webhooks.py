"""How webhooks are signed and sent."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

from gateway.domain.delivery import DELIVERY_RETRY_DELAYS_SECONDS, MAX_RETRY_DELAY_SECONDS
from gateway.settings.variables import env_names


class Webhooks(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    secret: Annotated[
        str | list[str] | None,
        Meta(
            description="Secret that signs webhooks: `whsec_` followed by base64; several during a rotation. If not"
            " set, the one in the file `webhook-secret` in the state directory, which the first start creates.",
            extra=env_names("MOONGATE_WEBHOOK_SECRET"),
        ),
    ] = None
    secrets: Annotated[
        dict[str, str | list[str]],
        Meta(description="Secrets of single receivers, by the beginning of their URLs, from scheme to port."),
    ] = field(default_factory=dict)
    allow_private: Annotated[
        list[str],
        Meta(description="Hosts and networks, such as `10.0.0.0/8`, with private addresses that webhooks may use."),
    ] = field(default_factory=list)
    schedule: Annotated[
        list[Annotated[float, Meta(ge=0, le=MAX_RETRY_DELAY_SECONDS)]],
        Meta(
            min_length=1,
            max_length=50,
            description="Seconds to wait before each attempt; after the last one, the delivery is dead.",
        ),
    ] = field(default_factory=lambda: list(DELIVERY_RETRY_DELAYS_SECONDS))
    timeout: Annotated[float, Meta(gt=0, le=55, description="Seconds that a receiver has to answer.")] = 15.0


class Hooks(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    callback_url: Annotated[
        Annotated[str, Meta(pattern=r"^https?://\S{1,2000}$(?!\n)")] | None,
        Meta(
            description="URL that is notified when a run ends that came through `/hooks/agent` or was assigned.",
            extra=env_names("MOONGATE_HOOKS_CALLBACK_URL"),
        ),
    ] = field(default=None, name="callbackUrl")
