"""The messages other tests are run with: enough of them, always the same, and truly hard."""

from tests.messages import all_messages, canonical, cpython_messages, hard_messages


def test_there_are_forty_hard_cases_with_or_without_those_of_cpython() -> None:
    assert len(hard_messages()) >= 40
    assert len(all_messages()) == len(hard_messages()) + len(cpython_messages())


def test_they_are_the_same_octets_each_time() -> None:
    assert hard_messages() == hard_messages()


def test_no_two_look_alike_to_a_client() -> None:
    # Else a test that compares what came with what was sent could not tell two messages exchanged.
    seen = [canonical(message) for message in hard_messages().values()]
    assert len(set(seen)) == len(seen)


def test_what_the_cases_are_for_is_in_them() -> None:
    messages = hard_messages()
    assert messages["dot-first-octet"][:1] == b"."
    assert messages["header-empty-message"] == b""
    assert b"\0" in messages["octets-nul"]
    assert not messages["end-none"].endswith((b"\r", b"\n"))
    assert b"\r" not in messages["end-lf"]
    assert b"\n" not in messages["end-cr"]
    assert max(len(line) for line in messages["octets-line-100k"].split(b"\r\n")) == 100_000
    assert len(messages["octets-2-mib"]) > 2 * 1024 * 1024
