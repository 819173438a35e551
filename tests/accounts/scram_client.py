"""A client of SCRAM that names another mailbox to open: scramp's own knows no authzid."""

from scramp import ScramClient


class Header:
    """gs2-header (RFC 5802, 7); what the last message repeats of it can be something else."""

    def __init__(self, authzid: str) -> None:
        escaped = authzid.replace("=", "=3D").replace(",", "=2C")
        self.said_first = self.said_last = f"n,a={escaped}," if authzid else "n,,"

    def __str__(self) -> str:
        return self.said_first

    def make_cbind_input(self, _: object) -> bytes:
        return self.said_last.encode()


def scram_client(mechanism: str, login: str, password: str, *, authzid: str) -> ScramClient:
    client = ScramClient([mechanism], login, password)
    client.gs2_header = Header(authzid)
    return client
