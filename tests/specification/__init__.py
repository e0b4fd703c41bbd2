"""Traces of the shipped core, held step by step against Ongaro's TLA+ specification of Raft."""
