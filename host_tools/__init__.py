"""Tools for the desk: run, watch and prove a Raft cluster of ESP32 boards."""
