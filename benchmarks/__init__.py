"""Side-by-side measurements with Dovecot; never imported by tests. `make bench` runs them."""
