"""Scripts: what happens in a simulated cluster, in one line each, if it isn't typical; portable.

    mistake: EarlierTermCommittedByCounting
    shows: node 1 commits an entry of an earlier term by counting
    voters: 5
    until: 1834
    at 812.000 ms: cut n1--n3 n1--n4 n1--n5
    at 830.250 ms: c6: put a (+0) at n1
    at 833.000 ms: n1->n2 append is lost

Where no line says anything else, datagrams take TYPICAL_US, clocks are right, nodes answer at once,
flash is as fast as its datasheet says, nobody fails, and clients ask for nothing. What a line says
is done at its time (DEEDS), or decides the next thing of its sort that is to be decided from then
on (DECISIONS, and what becomes of a datagram). So other lines can be left out, and it keeps its
meaning. `#2` behind a time is the second of its sort in that very microsecond.
"""

TYPICAL_US = 2000  # from node to node

# In what follows # is a number, ~ a time in us, which is told in ms, and @ a word.
DEEDS = {
    "crash": "n# crashes",
    "die": "n# has no power for ~ ms",
    "lose_power": "n# loses power after # bytes programmed, # erased",
    "fall_silent": "n# loses power after # datagrams",
    "fail_to_program": "n# can't program",
    "rot": "n#'s flash rots (crash: #, dice: #)",
    "wipe": "n#'s flash is wiped",
    "stand_still": "n# stands still for ~ ms",
    "request": "c#: @ @ (+#) at n#",
    "repeat": "outsider has heard #:# to #:# number # and tells #:# in ~ ms",
    "add": "n# is told: add n# as @, priority #",
    "tell": "n# is told: @ n#",
    "install": "n# is set up",
    "erase": "n# is erased (keeps identity: #)",
}
# The first number is that of the node or client; the second is what is decided.
DECISIONS = {
    "clock": "n#'s clock counts # in 1000",
    "timeout": "n# will stand after # ms of silence",
    "wakes": "n# wakes after ~ ms",
    "timer": "n#'s timer is ~ ms late",
    "lingers": "n# waits for more datagrams: #",
    "flash": "n#'s flash takes ~ ms",
    "down": "n# is down for ~ ms",
    "waits": "c# waits for ~ ms",
    "asks": "c# turns to n#",
}
# What the lines at the beginning tell, in this order; the rest is what a plan decides.
FIRST = ("mistake", "shows", "world", "seed", "voters", "boards", "clients", "election_ms")
LAST = ("until", "heals")
CUT = "cut"
FATE = "fate"


class Line:
    """One of a script. at: in us. nth: of its sort in this us, 1 or more. what: of DEEDS or
    DECISIONS, or CUT, or FATE. facts: as there; of a fate, (which datagrams, its copies)."""

    def __init__(self, at: int, what: str, facts, nth: int = 1) -> None:  # type: ignore[no-untyped-def]
        self.at = at
        self.what = what
        self.facts = facts
        self.nth = nth

    def is_deed(self) -> bool:
        return self.what in DEEDS or self.what == CUT

    def sort(self) -> object:
        """What a decision is about."""
        return self.what, self.facts[0]

    def text(self) -> str:
        nth = " #%d" % self.nth if self.nth > 1 else ""
        return "at %s ms%s: %s" % (in_ms(self.at), nth, self._said())

    def _said(self) -> str:
        if self.what == CUT:
            return _cut_said(self.facts[0])
        if self.what == FATE:
            return _fate_said(*self.facts)
        return _filled(DEEDS.get(self.what) or DECISIONS[self.what], self.facts)


class Script:
    """head: what else there is to know, key -> str. lines: in order of time."""

    def __init__(self, head: "dict[str, str]", lines: "list[Line]") -> None:
        self.head = head
        self.lines = lines

    def text(self) -> str:
        rest = sorted([key for key in self.head if key not in FIRST and key not in LAST])
        order = list(FIRST) + rest + list(LAST)
        head = ["%s: %s" % (key, self.head[key]) for key in order if key in self.head]
        return "\n".join(head + [line.text() for line in self.lines]) + "\n"


def parsed(text: str) -> Script:
    """Raises ValueError at a line that can't be understood. Lines with # at the beginning are
    for readers alone."""
    head = {}
    lines = []
    for line in text.split("\n"):
        if line.startswith("at "):
            lines.append(_parsed(line))
        elif line and not line.startswith("#"):
            key, colon, value = line.partition(": ")
            if not colon:
                raise ValueError("nobody knows what this means: %s" % line)
            head[key] = value
    return Script(head, lines)


def _parsed(line: str) -> Line:
    when, said = line[3:].split(": ", 1)
    words = when.split()
    nth = int(words[2][1:]) if len(words) > 2 else 1
    at = in_us(words[0])
    if said.startswith("cut "):
        return Line(at, CUT, (_parsed_cut(said),), nth)
    for known in (DEEDS, DECISIONS):
        for what in known:
            facts = _found(known[what], said)
            if facts is not None:
                return Line(at, what, facts, nth)
    return Line(at, FATE, _parsed_fate(said), nth)


# Patterns


def _filled(pattern: str, facts) -> str:  # type: ignore[no-untyped-def]
    said = ""
    left = list(facts)
    for letter in pattern:
        if letter == "~":
            said += in_ms(left.pop(0))
        elif letter in "#@":
            said += str(left.pop(0))
        else:
            said += letter
    return said


def _found(pattern: str, said: str):  # type: ignore[no-untyped-def]
    """The facts (tuple) in what was said by that pattern; None: it was another one."""
    facts: list[object] = []
    at = 0
    for letter in pattern:
        if letter not in "#~@":
            if said[at : at + 1] != letter:
                return None
            at += 1
            continue
        start = at
        allowed = "0123456789" if letter == "#" else "0123456789."
        while at < len(said) and (said[at] not in " :," if letter == "@" else said[at] in allowed):
            at += 1
        if at == start:
            return None
        word = said[start:at]
        facts.append(word if letter == "@" else int(word) if letter == "#" else in_us(word))
    return tuple(facts) if at == len(said) else None


def in_ms(us: int) -> str:
    ms, rest = us // 1000, us % 1000
    return "%d.%03d" % (ms, rest) if rest else "%d" % ms


def in_us(ms: str) -> int:
    whole, _, rest = ms.partition(".")
    return int(whole) * 1000 + (int((rest + "00")[:3]) if rest else 0)


def _cut_said(links: "set[tuple[int, int]]") -> str:
    said = []
    for a, b in sorted(links):
        if (b, a) not in links:
            said.append("n%d->n%d" % (a, b))
        elif a < b:
            said.append("n%d--n%d" % (a, b))
    return "cut " + (" ".join(said) or "nothing")


def _parsed_cut(said: str) -> "set[tuple[int, int]]":
    links = set()
    for link in said.split()[1:]:
        if link == "nothing":
            continue
        ends = link.split("--" if "--" in link else "->")
        a, b = [int(end[1:]) for end in ends]
        if a != b:
            links.add((a, b))
            if "--" in link:
                links.add((b, a))
    return links


def _fate_said(datagrams: str, copies) -> str:  # type: ignore[no-untyped-def]
    if not copies:
        return datagrams + " is lost"
    said = []
    for us, spoilt in copies:
        said.append(in_ms(us) + (" spoilt %d/%d" % spoilt if spoilt else ""))
    return datagrams + " takes " + " + ".join(said) + " ms"


def _parsed_fate(said: str):  # type: ignore[no-untyped-def]
    if said.endswith(" is lost"):
        return said[: -len(" is lost")], []
    if " takes " not in said:
        raise ValueError("nobody knows what this means: %s" % said)
    datagrams, rest = said.split(" takes ")
    copies = []
    for copy in rest[: -len(" ms")].split(" + "):
        us, _, spoilt = copy.partition(" spoilt ")
        where = tuple([int(word) for word in spoilt.split("/")]) if spoilt else None
        copies.append((in_us(us), where))
    return datagrams, copies
