"""The admin's pages: domains, aliases, users, mailboxes and their messages, the queue, the log, and the start page.

They live here and not in the apps because nearly every page needs several of these: a user's page shows what
mailstore counts, a mailbox's page whether pop3service has it open.
"""

from django.contrib import admin

from mailplatform.admin import aliases, collecting, domains, groups, history, logins, mailboxes, queue, sessions, users

__all__ = ["aliases", "collecting", "domains", "groups", "history", "logins", "mailboxes", "queue", "sessions", "users"]

admin.site.index_template = "mailplatform/start_page.html"
admin.site.index_title = ""
