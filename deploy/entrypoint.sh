#!/bin/sh
# The process of a container: web, pop3, smtp, or any command of manage.py with its arguments.
set -eu
: "${SECRET_KEY:?set SECRET_KEY: the image keeps nothing, so it cannot keep one of its own}"
: "${DATABASE_URL:?set DATABASE_URL, such as postgres://user:password@host/name}"

# TLS where there is a certificate; without one, passwords are taken from PLAINTEXT_NETWORKS alone.
certfile=${TLS_CERTFILE:-/run/tls/fullchain.pem}
keyfile=${TLS_KEYFILE:-/run/tls/privkey.pem}
tls() {
    if [ -r "$certfile" ] && [ -r "$keyfile" ]; then
        echo "--certfile $certfile --keyfile $keyfile $*"
    else
        echo "no certificate that can be read at $certfile and $keyfile: serving without TLS" >&2
    fi
}

process=$1
shift
case $process in
web)
    exec gunicorn --bind 0.0.0.0:8000 --workers "${WEB_WORKERS:-2}" --threads 4 --no-control-socket \
        mailplatform.wsgi "$@"
    ;;
pop3)
    # shellcheck disable=SC2046  # options are words
    exec python manage.py pop3serve --bind 0.0.0.0:1110 $(tls --tls-bind 0.0.0.0:1995) "$@"
    ;;
smtp)
    # shellcheck disable=SC2046
    exec python manage.py smtpserve --smtp-bind 0.0.0.0:1025 --lmtp-bind 0.0.0.0:1024 \
        $(tls --submission-bind 0.0.0.0:1587 --submission-tls-bind 0.0.0.0:1465) "$@"
    ;;
*)
    exec python manage.py "$process" "$@"
    ;;
esac
