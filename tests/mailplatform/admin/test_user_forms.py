"""Passwords to be said at the phone: hard to guess, hard to mishear, good enough for the rules on passwords."""

import math

from django.contrib.auth.password_validation import validate_password

from mailplatform.admin import user_forms
from mailplatform.admin.user_forms import spoken_password


def test_it_takes_many_guesses() -> None:
    sizes = {"c": len(user_forms._CONSONANTS), "v": len(user_forms._VOWELS), "d": len(user_forms._DIGITS)}
    assert math.log2(math.prod(sizes[kind] for part in user_forms._SHAPE for kind in part)) > 45
    assert len({spoken_password() for _ in range(200)}) == 200


def test_no_letter_is_taken_for_another() -> None:
    for letters in (user_forms._CONSONANTS, user_forms._VOWELS, user_forms._DIGITS):
        assert len(set(letters)) == len(letters)
        assert not set(letters) & set("cqwxyj01lI|") - {"l"}


def test_it_is_a_password_that_is_accepted() -> None:
    for _ in range(50):
        validate_password(spoken_password())
