"""Who calls, and what that caller may do. Every entrance makes a Principal here and asks the one Policy."""
