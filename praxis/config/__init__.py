"""Configuration: one typed value, read from YAML, the environment and flags, in this order. Only here is YAML known."""
