"""Room `gateway`: serves endpoints behind the guard; holds no key-encryption key."""
