"""The web as gunicorn serves it."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mailplatform.settings")
application = get_wsgi_application()

import mailplatform.urls  # noqa: E402, F401 - the pages are there before somebody asks for one
