"""The commands of `raftctl`."""
