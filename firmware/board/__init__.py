"""What touches hardware: the network and the flash partition."""
