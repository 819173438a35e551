# One image for every process of the platform; its command says which: web, pop3, smtp, migrate, or any command of
# manage.py. All state is in the database that DATABASE_URL names. compose.yaml shows them together.

FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /srv/mailplatform
COPY requirements.txt ./
RUN python -m venv /srv/venv && /srv/venv/bin/pip install --requirement requirements.txt
COPY . .
# The key is of this step alone: nothing of it is kept.
RUN SECRET_KEY=unused /srv/venv/bin/python manage.py collectstatic --noinput \
    && chmod -R a+rX var \
    && /srv/venv/bin/python -m compileall -q accounts collecting mailplatform mailstore pop3service portal smtpservice

FROM python:3.11-slim-bookworm
RUN groupadd --system --gid 10001 mailplatform \
    && useradd --system --uid 10001 --gid mailplatform --no-create-home --shell /usr/sbin/nologin mailplatform
COPY --from=build /srv/venv /srv/venv
COPY --from=build /srv/mailplatform /srv/mailplatform
WORKDIR /srv/mailplatform
ENV PATH=/srv/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    WHITENOISE_USE_FINDERS=0 \
    GUNICORN_CMD_ARGS="--worker-tmp-dir /dev/shm"
USER 10001:10001
# web, POP3 with STLS, POP3 with TLS, SMTP, LMTP, submission with STARTTLS, submission with TLS
EXPOSE 8000 1110 1995 1025 1024 1587 1465
ENTRYPOINT ["deploy/entrypoint.sh"]
CMD ["web"]
