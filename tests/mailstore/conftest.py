"""A mailbox to put mail into."""

import pytest

from accounts.lookup import FoundMailbox
from tests.mailstore.mailboxes import make_mailbox


@pytest.fixture
def mailbox(db: None) -> FoundMailbox:
    return make_mailbox("jules")
