"""MCP servers for callers of every era: the network's tools, and any other service, over HTTP, SSE and stdio."""
