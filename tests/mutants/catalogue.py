"""All mistakes there are."""

from tests.mutants import (
    elections,
    members,
    persistence,
    reads,
    replication,
    seal,
    sessions,
    snapshots,
)

MUTANTS = (
    elections.MUTANTS + replication.MUTANTS + persistence.MUTANTS + reads.MUTANTS
    + sessions.MUTANTS + snapshots.MUTANTS + members.MUTANTS + seal.MUTANTS
)  # fmt: skip
TEN = [mutant for mutant in MUTANTS if mutant.is_of_ten]

# What a search through all states may find: it knows of no reads, clients, snapshots and changes
_OF_THE_CORE = elections.MUTANTS + replication.MUTANTS + persistence.MUTANTS
MODELLED = [mutant for mutant in _OF_THE_CORE if mutant.core]
