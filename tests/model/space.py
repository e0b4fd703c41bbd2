"""What may happen in a small cluster: the shipped core is the transition function.

A state is each node's value, the letters that will still reach it, and what there is to remember of
the past. Nodes with their letters ("places") and pasts are numbered as they are found, and what may
come of a node and a letter is computed once: a state is four numbers.

When letters are sent, any of them may be lost; those that aren't arrive at any time later, in any
order, and some a second time.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from raft.core import LEADER, PRE_CANDIDATE, Core
from raft.messages import PRE_VOTE
from tests.model.bounds import Bounds, Past
from tests.model.node import (
    Letter,
    Outcome,
    Species,
    Value,
    is_dead,
    renamed,
    renamed_letter,
)
from tests.model.properties import look
from tests.model.telling import describe

State = tuple[int, ...]  # the place of each node, and the past
Step = tuple[State, str, int, str]  # what it leads to, what it breaks or "", the node, what happens
Addressed = list[tuple[int, tuple[int, ...]]]  # letters, by the position of the node they are for


class Effect(NamedTuple):
    """What may come of something that happens to a node, whatever letters it has.

    value: of the node afterwards; sent: letters; uses: what of a Past it counts in; leads: whether
    it begins to lead; tells: whether it knows of more commits, or its log is another one; label:
    what happens; broken: the property that this breaks by itself, or "".
    """

    value: int
    sent: tuple[int, ...]
    uses: str
    leads: bool
    tells: bool
    label: str
    broken: str


class Move(NamedTuple):
    """An effect on a node with its letters. place: the node and its letters afterwards."""

    place: int
    effect: Effect


class Space:
    """Everything that has a number; and what may happen, by these numbers."""

    def __init__(self, core_class: type[Core], bounds: Bounds) -> None:
        self.bounds = bounds
        self.species = Species(core_class, bounds.nodes, bounds.pre_votes > 0)
        self.ids = self.species.ids
        self.values = Numbers()
        self.letters = Numbers()
        self.places = Numbers()  # (number of a value, numbers of the letters that will reach it)
        self.pasts = Numbers()
        self._moves: list[list[Move] | None] = []
        self._by_itself: dict[int, list[Effect]] = {}
        self._heard: dict[tuple[int, int], list[Effect]] = {}
        self._posted: dict[tuple[int, tuple[int, ...]], int] = {}
        self._spent: dict[tuple[int, str], int] = {}
        self._choices: dict[tuple[tuple[int, ...], int], list[Addressed]] = {}

    def start(self) -> State:
        """The first state."""
        newborn = [
            self.places.of((self.values.of(self.species.newborn(node)), ())) for node in self.ids
        ]
        past = self.pasts.of(Past((0,) * (self.bounds.terms + 1)))
        return (*newborn, past)

    def place_of(self, value: Value, letters: Iterable[Letter]) -> int:
        numbers = tuple(sorted(self.letters.of(letter) for letter in letters))
        return self.places.of((self.values.of(value), numbers))

    def value(self, place: int) -> Value:
        value: Value = self.values.things[self.places.things[place][0]]
        return value

    # What may happen to one node

    def moves(self, place: int) -> list[Move]:
        while len(self._moves) < len(self.places.things):
            self._moves.append(None)
        moves = self._moves[place]
        if moves is None:
            moves = self._moves[place] = list(self._find_moves(place))
        return moves

    def _find_moves(self, place: int) -> Iterator[Move]:
        number, letters = self.places.things[place]
        for effect in self._alone(number):
            yield Move(self._place(effect.value, letters), effect)
        for letter in letters:
            rest = tuple([other for other in letters if other != letter])
            for effect in self._hear(number, letter):
                yield Move(self._place(effect.value, rest), effect)
                again = self._again(effect)
                yield Move(self._place(again.value, letters), again)

    def _again(self, effect: Effect) -> Effect:
        """The same of a letter of which there is another copy."""
        uses = f"{effect.uses},copies" if effect.uses else "copies"
        return effect._replace(uses=uses)

    def _alone(self, number: int) -> list[Effect]:
        """What may come of a node by itself."""
        effects = self._by_itself.get(number)
        if effects is None:
            value = self.values.things[number]
            effects = self._by_itself[number] = [
                self._effect(value, uses, label, outcome)
                for uses, label, outcome in self._happenings(value)
            ]
        return effects

    def _happenings(self, value: Value) -> Iterator[tuple[str, str, Outcome]]:
        """What is counted, a label, and what comes of it."""
        species, term = self.species, value.fact("term")
        for outcome in species.crash(value):
            yield "crashes", "", outcome
        if value.role != LEADER:
            if term < self.bounds.terms:
                for outcome in species.time_out(value):
                    yield "elections", "times out", outcome
            return
        for outcome in species.beat(value):
            yield "beats", "sends heartbeats", outcome
        for outcome in species.check_quorum(value):
            yield "beats", "hears no quorum", outcome
        for count in range(self.bounds.commands):
            for outcome in species.propose(value, command(count)):
                yield f"commands {count}", f"is given command {count + 1}", outcome
        if self.bounds.transfers and term < self.bounds.terms:
            for node in self.ids:
                for outcome in species.transfer(value, node):
                    yield "transfers", f"hands over to n{node}", outcome

    def _hear(self, number: int, letter: int) -> list[Effect]:
        effects = self._heard.get((number, letter))
        if effects is None:
            value, sent = self.values.things[number], self.letters.things[letter]
            outcomes = self.species.hear(value, sent)
            if sent.kind == PRE_VOTE and value.role == PRE_CANDIDATE:
                outcomes += self._hear_pre_vote(value, sent)
            effects = self._heard[number, letter] = [
                self._effect(value, "", f"hears {describe(sent)}", outcome)
                for outcome in outcomes
                if outcome.value != value or outcome.sent or outcome.broken
            ]
        return effects

    def _hear_pre_vote(self, value: Value, letter: Letter) -> list[Outcome]:
        """What would come of it if the two had each other's ids."""
        mine, other = value.node, letter.src
        swap = tuple({mine: other, other: mine}.get(node, node) for node in (0, *self.ids))
        swapped = self.species.hear(renamed(value, swap), renamed_letter(letter, swap))
        return [
            Outcome(
                renamed(outcome.value, swap),
                tuple(renamed_letter(sent, swap) for sent in outcome.sent),
                outcome.crashed, outcome.broken,
            )
            for outcome in swapped
        ]  # fmt: skip

    def _effect(self, before: Value, uses: str, label: str, outcome: Outcome) -> Effect:
        after = outcome.value
        if outcome.crashed:
            label = f"{label}, and {outcome.crashed}" if label else outcome.crashed
            uses = f"{uses},crashes" if uses and uses != "crashes" else "crashes"
        leads = after.role == LEADER and (before.role != LEADER or before.term != after.term)
        return Effect(
            self.values.of(after),
            tuple(sorted({self.letters.of(letter) for letter in outcome.sent})), uses,
            leads, after.commit > before.commit or after.log != before.log, label,
            outcome.broken,
        )  # fmt: skip

    def _place(self, number: int, letters: tuple[int, ...]) -> int:
        return self.places.of((number, tuple([i for i in letters if self._matters(number, i)])))

    def _matters(self, number: int, letter: int) -> bool:
        # A core with a mistake may well heed what the rule says is dead.
        is_over = is_dead(self.letters.things[letter], self.values.things[number])
        return not is_over or bool(self._hear(number, letter))

    def post(self, place: int, letters: tuple[int, ...]) -> int:
        """The place when these letters will reach it, too."""
        key = place, letters
        there = self._posted.get(key)
        if there is None:
            number, before = self.places.things[place]
            there = self._place(number, tuple(sorted({*before, *letters})))
            self._posted[key] = there
        return there

    # What may happen to all

    def steps(self, state: State) -> Iterator[Step]:
        """All that may happen next."""
        places, most = self.places.things, self.bounds.letters
        under_way = [len(places[place][1]) for place in state[:-1]]
        others_under_way = [sum(under_way) - count for count in under_way]
        for i, node in enumerate(self.ids):
            for place, effect in self.moves(state[i]):
                past = self._spend(state[-1], effect.uses) if effect.uses else state[-1]
                if past < 0:
                    continue
                after = [*state[:-1], past]
                after[i] = place
                broken = effect.broken
                if effect.leads or effect.tells and not broken:
                    broken = self._look(after, i, effect)
                yield tuple(after), broken, node, effect.label
                if effect.sent:
                    room = most - others_under_way[i] - len(places[place][1])
                    for addressed in self._some_of(effect.sent, room):
                        yield self._post_all(after, addressed), broken, node, effect.label

    def _look(self, state: list[int], i: int, effect: Effect) -> str:
        nodes = [self.value(place) for place in state[:-1]]
        past, broken = look(nodes, i, effect.leads, effect.tells, self.pasts.things[state[-1]])
        state[-1] = self.pasts.of(past)
        return broken

    def _some_of(self, sent: tuple[int, ...], most: int) -> list[Addressed]:
        """Those of them that aren't lost: one, two, ..."""
        choices = self._choices.get((sent, most))
        if choices is None:
            sizes = range(1, min(len(sent), most) + 1)
            choices = self._choices[sent, most] = [
                self._addressed(some)
                for size in sizes
                for some in itertools.combinations(sent, size)
            ]
        return choices

    def _addressed(self, sent: tuple[int, ...]) -> Addressed:
        to: dict[int, tuple[int, ...]] = {}
        for letter in sent:
            j = self.letters.things[letter].dst - 1
            to[j] = (*to.get(j, ()), letter)
        return list(to.items())

    def _post_all(self, state: list[int], addressed: Addressed) -> State:
        after = list(state)
        for j, letters in addressed:
            after[j] = self.post(after[j], letters)
        return tuple(after)

    def _spend(self, past: int, uses: str) -> int:
        """The past after one more of that; -1 if there may be no more."""
        key = past, uses
        after = self._spent.get(key)
        if after is None:
            after = self._spent[key] = self._count(past, uses)
        return after

    def _count(self, past: int, uses: str) -> int:
        known: Past = self.pasts.things[past]
        for use in uses.split(","):
            what, _, which = use.partition(" ")
            done = getattr(known, what)
            if done >= getattr(self.bounds, what) or which and done != int(which):
                return -1
            known = replace(known, **{what: done + 1})
        return self.pasts.of(known)


class Numbers:
    """Things by number, and numbers by thing."""

    def __init__(self) -> None:
        self.things: list = []  # type: ignore[type-arg]
        self._numbers: dict[object, int] = {}

    def of(self, thing: object) -> int:
        number = self._numbers.get(thing)
        if number is None:
            number = self._numbers[thing] = len(self.things)
            self.things.append(thing)
        return number


def command(count: int) -> bytes:
    return b"%d" % (count + 1)
