"""Praxis: a network of agents without a centre. The composition root is :mod:`praxis.app`."""

__version__ = "0.1.0"
