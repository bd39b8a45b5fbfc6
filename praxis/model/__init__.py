"""Values that every room of the house shares: no clock, no sockets, no behaviour beyond their own invariants."""
