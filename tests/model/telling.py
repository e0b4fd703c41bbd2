"""Letters and states, readable."""

from tests.cluster.datagrams import KINDS
from tests.model.node import Letter


def describe(letter: Letter) -> str:
    kind, src, _, term, index, log_term, commit, number, entries = letter
    told = f"{KINDS[kind]!r} of n{src}, term {term}, {index}/{log_term}, commit {commit}"
    return (
        told
        + (f", round {number}" if number else "")
        + "".join(f", entry of term {entry[0]}" for entry in entries)
    )
