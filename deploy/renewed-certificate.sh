#!/bin/sh
# certbot's --deploy-hook: gives the mail servers a new certificate; certbot sets RENEWED_LINEAGE.
set -eu
umask 077
for name in fullchain.pem privkey.pem; do
    install -m 0640 -g mailplatform "$RENEWED_LINEAGE/$name" "/etc/mailplatform/tls/$name.new"
done
for name in fullchain.pem privkey.pem; do
    mv "/etc/mailplatform/tls/$name.new" "/etc/mailplatform/tls/$name"
done
systemctl try-reload-or-restart mailplatform-pop3.service mailplatform-smtp.service
