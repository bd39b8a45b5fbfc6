"""What must survive a restart: the runs, in one SQLite file."""
