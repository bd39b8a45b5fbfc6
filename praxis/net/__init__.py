"""Bytes over Trio: sockets, servers, processes. Knows nothing of what the bytes mean."""
