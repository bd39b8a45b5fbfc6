"""Peers: who they are, how they are found, and the lines to them."""
