"""What the agent lets others see of it: events as they happen, metrics, logs."""
