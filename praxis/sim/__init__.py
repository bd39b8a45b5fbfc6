"""The daemon's own peer modules on a network that is only imagined, under a virtual clock: many agents, any weather."""
