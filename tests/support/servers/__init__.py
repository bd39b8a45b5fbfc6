"""Programs that tests start as children: servers that misbehave, and an agent to be killed."""
