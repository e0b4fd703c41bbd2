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
