"""Who may come in at which listener, as the configuration has it."""

from __future__ import annotations

import logging

from praxis.access.entrance import Entrance, ListenerKind, check_binding
from praxis.access.tokens import TokenStore
from praxis.config.schema import Access, Config
from praxis.net.serve import is_loopback

logger = logging.getLogger(__name__)


def check_listeners(config: Config, tokens: TokenStore) -> None:
    """Raises PraxisError("invalid") for a listener that others reach and nobody guards; warns where that is wanted."""
    wide = []
    for name in ("http", "websocket", "sse"):
        section = getattr(config, name)
        if section.enabled:
            loopback = is_loopback(section.host)
            wide += [] if loopback else [f"{name} at {section.host}"]
            check_binding(
                section.host,
                loopback=loopback,
                insecure=config.access.insecure,
                tokens=tokens,
                where=f"{name}.host",
            )
    if config.access.insecure and wide:
        text = "access.insecure: whoever reaches %s may do everything here, without a token"
        logger.warning(text, " or ".join(wide))


def make_entrance(access: Access, tokens: TokenStore, host: str, *, unix: bool = False) -> Entrance:
    """What guards the listener at `host`, or the local socket."""
    listener: ListenerKind = "unix" if unix else "loopback" if is_loopback(host) else "network"
    return Entrance(
        listener=listener,
        allowed_hosts=access.allowed_hosts,
        allowed_origins=access.allowed_origins,
        bound_host=host,
        insecure=access.insecure,
        tokens=tokens,
    )
