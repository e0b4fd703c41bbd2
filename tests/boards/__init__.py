"""Virtual boards, and what the real tools of this world do with them."""
