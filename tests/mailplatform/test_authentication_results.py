"""What others say in our name."""

from hypothesis import given
from hypothesis import strategies as st

from mailplatform.authentication_results import without_forged

FORGED = [
    b"Authentication-Results: mail.maison.mrs; spf=pass\r\n",
    b"authentication-results : Mail.Maison.MRS 1; dkim=pass\r\n",
    b"Authentication-Results:\r\n\t(a comment) mail.maison.mrs;\r\n\tdmarc=pass\r\n",
    b'Authentication-Results: "mail.maison.mrs"; none\r\n',
    b'Authentication-Results: "mail\\.maison.mrs" 1; none\r\n',
    b"Authentication-Results: (a(b;)c)\r\n\t(\\)\\()mail.maison.mrs(x); dmarc=pass\r\n",
    b"Authentication-Results: mail.maison.mrs\r\n",
]
OTHERS = [
    b"Authentication-Results: other.example; spf=pass\r\n",
    b"Authentication-Results: other.example (mail.maison.mrs); spf=pass smtp.helo=mail.maison.mrs\r\n",
    b"Authentication-Results: (mail.maison.mrs); mail.maison.mrs\r\n",
    b"Authentication-Results:\r\n",
    b"Subject: x\r\n\tAuthentication-Results: no\r\n",
]


@given(st.lists(st.sampled_from(FORGED + OTHERS)))
def test_rfc_8601_5_what_others_say_in_our_name_is_taken_out(lines: list[bytes]) -> None:
    header = b"".join(lines) + b"\r\n"
    assert without_forged(header, "mail.maison.mrs") == b"".join(line for line in lines if line in OTHERS) + b"\r\n"
