"""Nodes that differ by nothing but their ids are the same.

Of all states that come of each other by renaming nodes only one is looked at. The core looks at the
order of ids in one place, where of two pre-candidates the one with the lower id goes on: there the
space tries both orders, so that what may come of a state is the same under any names.
"""

import itertools
from dataclasses import replace

from tests.model.bounds import Past
from tests.model.node import Renaming, renamed, renamed_letter
from tests.model.space import Space, State

BITS = 28  # of each number of a state
MASK = (1 << BITS) - 1


class Symmetry:
    """The states of `space` under other names. is_used: or else each state is only itself."""

    def __init__(self, space: Space, is_used: bool = True) -> None:
        self._space = space
        self._count = len(space.ids)
        orders = itertools.permutations(space.ids) if is_used else [space.ids]
        self.renamings: list[Renaming] = [(0, *order) for order in orders]
        # By renaming: which node's place is the first, the second, ... afterwards
        self._orders = [
            [renaming.index(node) - 1 for node in space.ids] for renaming in self.renamings
        ]
        self._sortings: dict[tuple[tuple[int, ...], tuple[bool, ...]], list[int]] = {}
        self._orbits: list[int] = []
        self._other_places: list[list[int]] = [[] for _ in self.renamings]
        self._other_pasts: list[dict[int, int]] = [{} for _ in self.renamings]

    def canonical(self, state: State) -> int:
        """One number for all states that come of this one by renaming nodes; see `state_of`.

        Nodes are put into the order of their orbits. Only of those of one orbit more than one
        order has to be tried.
        """
        packed = self._packed(state, self._sorting(state))
        return packed[0] if len(packed) == 1 else min(packed)

    def images(self, state: State) -> int:
        """How many states come of this one by renaming nodes, itself included."""
        self._sorting(state)
        return len(set(self._packed(state, list(range(len(self.renamings))))))

    def state_of(self, packed: int) -> State:
        return tuple([packed >> BITS * i & MASK for i in range(self._count, -1, -1)])

    def _packed(self, state: State, renamings: list[int]) -> list[int]:
        past = state[-1]
        packed = []
        for i in renamings:
            places, pasts = self._other_places[i], self._other_pasts[i]
            number = 0
            for j in self._orders[i]:
                number = number << BITS | places[state[j]]
            other = pasts.get(past)
            if other is None:
                other = pasts[past] = self._rename_past(past, self.renamings[i])
            packed.append(number << BITS | other)
        return packed

    def _sorting(self, state: State) -> list[int]:
        """The renamings that put the nodes in the order of their orbits."""
        orbits = self._orbits
        known = len(orbits)
        for place in state[:-1]:
            if place >= known or orbits[place] < 0:
                self._find_orbit(place)
        order = tuple(sorted(range(self._count), key=lambda j: orbits[state[j]]))
        ties = tuple([orbits[state[a]] == orbits[state[b]] for a, b in itertools.pairwise(order)])
        sorting = self._sortings.get((order, ties))
        if sorting is None:
            wanted = [orbits[state[j]] for j in order]
            sorting = self._sortings[order, ties] = [
                i
                for i, other in enumerate(self._orders)
                if [orbits[state[j]] for j in other] == wanted or len(self._orders) == 1
            ]
        return sorting

    def _find_orbit(self, place: int) -> None:
        """An orbit is all places that come of each other by renaming; its number is one of them."""
        images = [self._rename(place, renaming) for renaming in self.renamings]
        for numbers in (self._orbits, *self._other_places):
            numbers.extend([-1] * (len(self._space.places.things) - len(numbers)))
        self._orbits[place] = min(images)
        for others, image in zip(self._other_places, images):
            others[place] = image

    def _rename(self, place: int, to: Renaming) -> int:
        space = self._space
        letters = [
            renamed_letter(space.letters.things[i], to) for i in space.places.things[place][1]
        ]
        return space.place_of(renamed(space.value(place), to), letters)

    def _rename_past(self, past: int, to: Renaming) -> int:
        known: Past = self._space.pasts.things[past]
        leaders = tuple([to[node] for node in known.leaders])
        return self._space.pasts.of(replace(known, leaders=leaders))
