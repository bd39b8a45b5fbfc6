"""The language: text to a tree of statements, with the place of everything. Described in docs/dsl.md."""
