"""Settings of collecting that cannot work."""

from pytest_django import Settings

from collecting.checks import check_collecting


def test_a_key_that_can_be_guessed(settings: Settings) -> None:
    settings.COLLECT_KEYS = ["k" * 44]
    assert check_collecting() == []
    settings.COLLECT_KEYS = ["k" * 44, "short"]
    (found,) = check_collecting()
    assert found.id == "mailplatform.E040"
    settings.COLLECT_KEYS = [settings.SECRET_KEY]  # as without the setting; it is looked at elsewhere
    assert check_collecting() == []
