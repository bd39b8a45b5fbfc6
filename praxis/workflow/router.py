"""Which tool a name means, and where it runs. Pure: a choice on a frozen view of the network."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import islice

import attrs

from praxis.model.errors import PraxisError
from praxis.model.peer import PeerId
from praxis.model.run import RouteChoice
from praxis.model.tool import Tool, ToolRef
from praxis.tools.schema import Validator, compile_schema

MAX_COMPARED = 2000
"""Names that are compared with one that is not there: some 20 ms; a large network has many more."""


@attrs.frozen(eq=False, slots=False)
class Candidate:
    """A tool and who has it: a peer, or this agent where `peer_id` is None."""

    tool: Tool
    peer_id: PeerId | None

    @cached_property
    def validator(self) -> Validator:
        """Checks arguments against the tool's input schema; made when it is first needed."""
        return compile_schema(self.tool.input_schema)


@attrs.frozen
class Route:
    """The candidates that may serve a step, best first. The others take over only when a call was not delivered."""

    candidates: tuple[Candidate, ...]
    reason: str

    @property
    def choice(self) -> RouteChoice:
        first, *others = self.candidates
        return RouteChoice(
            tool=str(first.tool.ref),
            agent=first.tool.agent,
            peer=first.peer_id,
            reason=self.reason,
            others=tuple(str(other.tool.ref) for other in others),
        )


class Snapshot:
    """Every tool that can be reached at one moment, by name."""

    def __init__(
        self, local: Sequence[Tool], remote: Iterable[tuple[PeerId, Sequence[Tool]]], interchangeable: Sequence[str]
    ) -> None:
        self.tools: list[Candidate] = [Candidate(tool, None) for tool in local]
        for peer_id, tools in remote:
            self.tools.extend(Candidate(tool, peer_id) for tool in tools)
        self._globs = tuple(interchangeable)
        by_name: dict[str, list[Candidate]] = {}
        for candidate in self.tools:
            by_name.setdefault(candidate.tool.name, []).append(candidate)
        self._by_name: Mapping[str, list[Candidate]] = by_name

    def route(self, ref: ToolRef, *, peer_id: PeerId | None = None) -> Route:
        """Choose. `peer_id` narrows to one peer.

        Raises PraxisError: ``not_found`` with the names that look alike, ``ambiguous`` with the candidates.
        """
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
            hint="write one of these names, or declare them routing.interchangeable",
            data={"candidates": names[:64]},
        )
