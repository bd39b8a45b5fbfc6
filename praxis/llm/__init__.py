"""Models that make plans of plain language: what is asked, over which line, and what is made of the answer."""
