"""How passwords are hashed at rest."""

from django.contrib.auth.hashers import Argon2PasswordHasher


class Argon2Hasher(Argon2PasswordHasher):
    """Argon2id with 19 MiB, two passes and one lane: OWASP's first choice for servers.

    Django's own default takes 100 MiB and eight lanes for each login, which lets a hundred clients that log in at
    the same moment exhaust a small host. Hashes with other parameters verify and are renewed at the next login.
    """

    time_cost = 2
    memory_cost = 19 * 1024  # KiB
    parallelism = 1
