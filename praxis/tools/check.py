"""What all checks of values share: what a check is, what it may cost, what it finds, and what is not checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from praxis.model.errors import PraxisError
from praxis.model.tool import JSON
from praxis.tools.pattern import Pattern, compile_pattern
from praxis.tools.show import LISTED, alike, did_you_mean, quoted, short, show

MAX_STEPS = 1_000_000
"""Looks at one value by one keyword in one check: a list of a million integers passes, in 0.2 s. What is made to take
long takes 0.8 s."""
MAX_PATTERN_STEPS = 5_000_000
"""Steps of the pattern engine in one check, by their worst case. A step takes at most some 12 ns, so 60 ms in all, and
an e-mail address may have 130 characters. Texts beyond it are not tried."""
MAX_PATTERNS = 100
"""Patterns of one schema; the rest is passed over. Making one ready takes up to a millisecond."""
MAX_NOTES = 32
"""Notes that are kept: enough to see what is wrong with a schema."""


@attrs.define
class Work:
    """What one check may still cost, and which references it is following on which values."""

    where: str
    steps: int = MAX_STEPS
    pattern_steps: int = MAX_PATTERN_STEPS
    passed_over: int = 0
    """Grows with every check that could not be made, so that nothing is refused for having fitted."""
    following: set[tuple[int, int]] = attrs.field(factory=set)

    def spend(self, steps: int) -> None:
        """Raises PraxisError("invalid") once the check has cost too much."""
        self.steps -= steps
        if self.steps < 0:
            raise PraxisError(
                "invalid",
                "it is too large or too involved to be checked",
                where=self.where,
                hint="send less in one call",
            )

    def matches(self, pattern: Pattern, text: str) -> bool | None:
        """Whether the pattern is found in the text; None when that could take too long to find out."""
        steps = pattern.steps(len(text))
        if steps > self.pattern_steps:
            self.passed_over += 1
            return None
        self.pattern_steps -= steps
        return pattern.found_in(text)


@attrs.define
class Problem:
    """Something that does not fit. `path` leads to it, innermost part first; `expected` completes "expected ..."."""

    expected: str
    value: JSON
    detail: str = ""
    """The whole sentence, where it is not "expected ..., got ..."."""
    unknown: tuple[str, Sequence[str]] | None = None
    """A name that is not one of these: what was meant is looked for when it is told, once, not for each alternative."""
    path: list[str | int] = attrs.field(factory=list)
    among: Sequence[JSON] = ()
    """Values of which one is expected; likewise."""
    hint: str = ""
    """What to do, where it is not one of these."""

    def error(self, where: str) -> PraxisError:
        detail = self.detail or f"expected {self.expected}, got {show(self.value)}"
        hint = did_you_mean(*self.unknown) if self.unknown else self.hint or self._alike()
        return PraxisError("invalid", detail, where=where + "".join(map(step, reversed(self.path))), hint=hint)

    def _alike(self) -> str:
        """The text that was meant, where one of a few is expected."""
        if not self.among or not isinstance(self.value, str):
            return ""
        texts = [text for text in self.among if isinstance(text, str)]
        return alike(self.value, texts)


Check = Callable[[JSON, Work], Problem | None]


def passed_over(value: JSON, work: Work) -> Problem | None:
    work.passed_over += 1
    return None


@attrs.define
class Notes:
    """What of a schema is passed over, and why; `patterns` is how many it may still have."""

    texts: list[str] = attrs.field(factory=list)
    patterns: int = MAX_PATTERNS

    def pass_over(self, text: str) -> Check:
        """A check that is not made."""
        if len(self.texts) < MAX_NOTES:
            self.texts.append(short(text, LISTED))
        return passed_over

    def pattern(self, text: JSON) -> Pattern:
        """Raises ValueError, with the reason, for a pattern that is not used."""
        if not isinstance(text, str):
            raise ValueError("not a text")
        if self.patterns == 0:
            raise ValueError(f"there are more than {MAX_PATTERNS}")
        self.patterns -= 1
        return compile_pattern(text)


def step(part: str | int) -> str:
    """One part of a place, such as ``.name`` or ``[0]``."""
    if isinstance(part, int):
        return f"[{part}]"
    return f".{part}" if len(part) <= 60 and part.replace("-", "_").isidentifier() else f"[{quoted(part)}]"
