"""Which tool a name means, and where it runs. Pure: a choice on a frozen view of the network."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import islice
from types import MappingProxyType

import attrs

from praxis.model.errors import PraxisError
from praxis.model.peer import PeerId
from praxis.model.run import CandidateScore, RouteChoice
from praxis.model.tool import Tool, ToolRef
from praxis.tools.schema import Validator, compile_schema
from praxis.workflow.scores import Measure, Place, Scores, describe, mentioned, needs, place_of

MAX_COMPARED = 2000
"""Names that are compared with one that is not there: some 20 ms; a large network has many more."""
MAX_WEIGHED = 32
"""Candidates up to which all are compared for each call, some 5 us each."""
DRAWN = 16
"""Of more candidates, how many are drawn from each kind: enough that not all of them are out of order."""
MAX_SHOWN = 8
"""Candidates that a choice names, the best first: enough to see why, small beside a step's result."""


@attrs.frozen(eq=False, slots=False)
class Home:
    """What the router knows of an agent. `ends` are the addresses of a line to it, its own and ours; None for us."""

    tags: tuple[str, ...] = ()
    ends: tuple[str, str] | None = None

    @cached_property
    def place(self) -> Place:
        return "agent" if self.ends is None else place_of(*self.ends)


@attrs.frozen(eq=False, slots=False)
class Candidate:
    """A tool and who has it: a peer, or this agent where `peer_id` is None."""

    tool: Tool
    peer_id: PeerId | None
    home: Home = Home()

    @cached_property
    def key(self) -> tuple[PeerId | None, str, str]:
        """What its health is remembered under."""
        return self.peer_id, self.tool.source, self.tool.name

    @cached_property
    def validator(self) -> Validator:
        """Checks arguments against the tool's input schema; made when it is first needed."""
        return compile_schema(self.tool.input_schema)


@attrs.frozen(eq=False, slots=False)
class Route:
    """The candidates that may serve a step, best first; the others take over when the first does not get the call, or
    the tool is idempotent. `weighed` says what each was found to be worth, once they have been compared.
    """

    candidates: tuple[Candidate, ...]
    reason: str
    weighed: tuple[tuple[Measure, Scores], ...] = ()

    @cached_property
    def needed_tags(self) -> list[tuple[str, ...]]:
        """For each candidate the tags of its agent that the step needs: the same needs for all of them."""
        texts = [text for c in self.candidates for text in (c.tool.name, c.tool.description)]
        needed = needs(texts) if any(c.home.tags for c in self.candidates) else frozenset()
        return [mentioned(candidate.home.tags, needed) for candidate in self.candidates]

    @cached_property
    def _kinds(self) -> list[list[int]]:
        """Candidates with as many needed tags at the same kind of place."""
        kinds: dict[tuple[int, Place], list[int]] = {}
        for i, candidate in enumerate(self.candidates):
            kinds.setdefault((len(self.needed_tags[i]), candidate.home.place), []).append(i)
        return list(kinds.values())

    def compared(self, draw: Callable[[], float]) -> Sequence[int]:
        """Indexes of the candidates to compare: all, or of very many some of each kind, drawn anew for each call."""
        if len(self.candidates) <= MAX_WEIGHED:
            return range(len(self.candidates))
        found: list[int] = []
        for kind in self._kinds:
            found += {kind[int(draw() * len(kind))] for _ in range(DRAWN)} if len(kind) > DRAWN else kind
        return found

    def after(self, failed: int) -> Route:
        """What is left when so many have failed."""
        reason = f"{self.reason}; {failed} before it failed"
        return Route(self.candidates[failed:], reason, self.weighed[failed:])

    @cached_property
    def choice(self) -> RouteChoice:
        first, *others = self.candidates
        return RouteChoice(
            tool=str(first.tool.ref),
            agent=first.tool.agent,
            peer=first.peer_id,
            reason=self.reason,
            others=tuple(str(other.tool.ref) for other in others[:MAX_SHOWN]),
            scores=tuple(
                _shown(*each) for each in zip(self.candidates[:MAX_SHOWN], self.weighed[:MAX_SHOWN], strict=False)
            ),
        )


def _shown(candidate: Candidate, weighed: tuple[Measure, Scores]) -> CandidateScore:
    measure, scores = weighed
    return CandidateScore(
        tool=str(candidate.tool.ref),
        agent=candidate.tool.agent,
        peer=candidate.peer_id,
        score=round(scores.total, 3),
        availability=round(scores.availability, 3),
        specialization=round(scores.specialization, 3),
        load=round(scores.load, 3),
        locality=round(scores.locality, 3),
        reason=describe(measure),
    )


class Snapshot:
    """Every tool that can be reached at one moment, by name."""

    def __init__(
        self,
        local: Sequence[Tool],
        remote: Iterable[tuple[PeerId, Sequence[Tool]]],
        interchangeable: Sequence[str],
        homes: Mapping[PeerId | None, Home] = MappingProxyType({}),
    ) -> None:
        own = homes.get(None, Home())
        self.tools: list[Candidate] = [Candidate(tool, None, own) for tool in local]
        for peer_id, tools in remote:
            home = homes.get(peer_id, Home())
            self.tools.extend(Candidate(tool, peer_id, home) for tool in tools)
        self._globs = tuple(interchangeable)
        self._routes: dict[tuple[ToolRef, PeerId | None], Route] = {}
        """Routes that were found: a tool has four names, and each with its peer's id."""
        by_name: dict[str, list[Candidate]] = {}
        for candidate in self.tools:
            by_name.setdefault(candidate.tool.name, []).append(candidate)
        self._by_name: Mapping[str, list[Candidate]] = by_name

    def route(self, ref: ToolRef, *, peer_id: PeerId | None = None) -> Route:
        """Choose. `peer_id` narrows to one peer.

        Raises PraxisError: ``not_found`` with the names that look alike, ``ambiguous`` with the candidates.
        """
        route = self._routes.get((ref, peer_id))
        if route is None:
            route = self._routes[ref, peer_id] = self._find(ref, peer_id)
        return route

    def _find(self, ref: ToolRef, peer_id: PeerId | None) -> Route:
        found = [
            candidate
            for candidate in self._by_name.get(ref.name, ())
            if candidate.tool.matches(ref) and peer_id in (None, candidate.peer_id)
        ]
        if not found:
            raise self._unknown(ref, peer_id)
        if len(found) == 1:
            return Route((found[0],), "the only owner" if found[0].peer_id else "local")
        if self._interchangeable(found):
            return Route(
                tuple(found), "interchangeable: local first" if found[0].peer_id is None else "interchangeable"
            )
        local = [candidate for candidate in found if candidate.peer_id is None]
        if len(local) == 1:
            return Route((local[0],), "local first")
        raise self._ambiguous(ref, local or found)

    def _interchangeable(self, found: Sequence[Candidate]) -> bool:
        """Whether our configuration says so, or all of their owners do with one word."""
        groups = {candidate.tool.group for candidate in found}
        if len(groups) == 1 and "" not in groups:
            return True
        return all(
            any(
                fnmatchcase(name, glob)
                for glob in self._globs
                for name in (c.tool.name, f"{c.tool.source}/{c.tool.name}")
            )
            for c in found
        )

    def _unknown(self, ref: ToolRef, peer_id: PeerId | None) -> PraxisError:
        alike = difflib.get_close_matches(ref.name, list(islice(self._by_name, MAX_COMPARED)), 3)
        same = [str(c.tool.ref) for c in self._by_name.get(ref.name, ())]
        if same:
            hint = f"{ref.name} is there as {', '.join(same[:5])}"
        elif alike:
            hint = f"did you mean {' or '.join(alike)}?"
        else:
            hint = "`praxis tools` lists what can be reached"
        where = f" on peer {peer_id}" if peer_id else ""
        return PraxisError("not_found", f"no tool {str(ref)!r} can be reached{where}", hint=hint, data={"alike": alike})

    def _ambiguous(self, ref: ToolRef, found: Sequence[Candidate]) -> PraxisError:
        names = [str(candidate.tool.ref) for candidate in found]
        return PraxisError(
            "ambiguous",
            f"{str(ref)!r} has {len(names)} owners: {', '.join(names[:8])}{' ...' if len(names) > 8 else ''}",
            hint="write one of these names, or declare them routing.interchangeable, or of one tools[].group",
            data={"candidates": names[:64]},
        )
