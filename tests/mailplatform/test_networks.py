"""Who comes, and in which networks that is."""

import pytest

from mailplatform.arrivals import Arrival
from mailplatform.networks import Networks


@pytest.mark.parametrize(
    ("networks", "address", "listed"),
    [
        (["127.0.0.0/8", "::1/128"], "127.0.0.1", True),
        (["127.0.0.0/8", "::1/128"], "127.9.9.9", True),
        (["127.0.0.0/8", "::1/128"], "::1", True),
        (["127.0.0.0/8", "::1/128"], "::ffff:127.0.0.1", True),  # IPv4 on a socket of both
        (["127.0.0.0/8", "::1/128"], "128.0.0.1", False),
        (["127.0.0.0/8", "::1/128"], "::2", False),
        (["127.0.0.0/8", "::1/128"], "::ffff:128.0.0.1", False),
        (["192.168.1.0/24"], "192.168.1.77", True),
        (["192.168.1.0/24"], "192.168.2.1", False),
        (["fe80::/10"], "fe80::1%eth0", True),
        (["0.0.0.0/0"], "::1", False),
        (["::/0"], "::ffff:1.2.3.4", False),
        ([], "127.0.0.1", False),
        (["127.0.0.0/8"], "", False),
        (["127.0.0.0/8"], "localhost", False),
    ],
)
def test_whose_network_is_listed(networks: list[str], address: str, listed: bool) -> None:
    assert (address in Networks(networks)) is listed


def test_a_version_of_tls_is_encryption() -> None:
    assert not Arrival("192.0.2.1", plaintext=True).encrypted
    assert Arrival("192.0.2.1", "TLSv1.2").encrypted
