"""A program that never comes to its node."""

while True:
    pass
