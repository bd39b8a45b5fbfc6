"""Finds tools by words, without a model: by names, descriptions, and the names and descriptions of arguments. Pure.

A word counts more the fewer tools have it, and more in a name than in a text; one that a query only begins counts half.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

from praxis.model.tool import JSON, Tool

NAME, TEXT, ARGUMENT = 4.0, 1.0, 0.5
"""Weights of a word in a name, in a description, and about an argument."""
ENOUGH = 1.2
"""How soon a word that is repeated counts no more (BM25's k1)."""
MAX_TEXT = 4000
"""Characters of a description that are looked through: definitions come from strangers."""
MAX_ARGUMENTS = 64
"""Arguments of a tool that are looked at."""
MAX_WORDS = 32
"""Words of a query."""
_WORD = re.compile(r"[^\W_]+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def words(text: str) -> list[str]:
    """The words of a text, in small letters and without the s of a plural: ``readFiles`` has two."""
    found = _WORD.findall(_CAMEL.sub(" ", text[:MAX_TEXT]).lower())
    return [word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word for word in found]


class ToolIndex:
    """Tools by exported name, ready to be searched."""

    def __init__(self, tools: Mapping[str, Tool]) -> None:
        self._weights = {name: _weights(name, tool) for name, tool in tools.items()}
        self._having: dict[str, int] = {}
        for weights in self._weights.values():
            for word in weights:
                self._having[word] = self._having.get(word, 0) + 1

    def find(self, query: str, limit: int) -> list[tuple[str, float]]:
        """The names of the best matches with their scores, the best first; none for words that no tool has."""
        asked = list(dict.fromkeys(words(query)))[:MAX_WORDS]
        scores = {name: sum(self._score(word, weights) for word in asked) for name, weights in self._weights.items()}
        found = [(name, round(score, 3)) for name, score in scores.items() if score > 0]
        return sorted(found, key=lambda match: (-match[1], match[0]))[:limit]

    def _score(self, word: str, weights: Mapping[str, float]) -> float:
        weight = weights.get(word, 0.0)
        if weight:
            return self._rarity(word) * weight / (weight + ENOUGH)
        begun = [(self._rarity(other), w) for other, w in weights.items() if len(word) > 2 and other.startswith(word)]
        return max((0.5 * rarity * w / (w + ENOUGH) for rarity, w in begun), default=0.0)

    def _rarity(self, word: str) -> float:
        return math.log(1 + len(self._weights) / self._having[word])


def _weights(name: str, tool: Tool) -> dict[str, float]:
    weights: dict[str, float] = {}

    def add(texts: Iterable[JSON], weight: float) -> None:
        for text in texts:
            for word in words(text) if isinstance(text, str) else ():
                weights[word] = weights.get(word, 0.0) + weight

    add((name, tool.definition.get("title")), NAME)
    add((tool.description,), TEXT)
    properties = tool.input_schema.get("properties")
    if isinstance(properties, Mapping):
        for argument, schema in list(properties.items())[:MAX_ARGUMENTS]:
            add((argument, schema.get("description") if isinstance(schema, Mapping) else None), ARGUMENT)
    return weights
