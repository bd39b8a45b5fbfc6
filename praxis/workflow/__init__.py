"""From a program to its results: the plan, the routes, the run."""
