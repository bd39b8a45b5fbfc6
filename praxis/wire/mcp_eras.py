"""What the revisions of MCP have in common and what tells them apart: versions, errors, names of members.

Two eras: up to 2025-11-25 a session begins with a handshake; from 2026-07-28 on each request stands for itself.
"""

from __future__ import annotations

HANDSHAKE_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
LATEST_HANDSHAKE = HANDSHAKE_VERSIONS[-1]
MODERN_VERSIONS = ("2026-07-28",)
LATEST_MODERN = MODERN_VERSIONS[-1]

HEADER_MISMATCH, MISSING_CAPABILITY, UNSUPPORTED_VERSION = -32020, -32021, -32022

META = "io.modelcontextprotocol/"
META_VERSION = META + "protocolVersion"
META_CAPABILITIES = META + "clientCapabilities"
META_CLIENT = META + "clientInfo"
META_LOG_LEVEL = META + "logLevel"
META_SERVER = META + "serverInfo"
META_SUBSCRIPTION = META + "subscriptionId"

LISTS = frozenset({"tools/list", "resources/list", "resources/templates/list", "prompts/list"})
CACHEABLE = LISTS | {"server/discover", "resources/read"}
"""Results that say how long they may be kept (``ttlMs``, ``cacheScope``)."""
RESUMABLE = frozenset({"tools/call", "prompts/get", "resources/read"})
"""Requests that may be answered with a request for input."""
NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""Which param the header ``Mcp-Name`` repeats."""
LOG_LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
