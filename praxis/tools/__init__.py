"""Tools on this machine: where they come from, what they take, and how they are called."""
