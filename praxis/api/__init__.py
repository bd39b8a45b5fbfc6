"""The HTTP API: one module per group of routes, declared once for the server and for the OpenAPI document."""
