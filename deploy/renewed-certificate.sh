#!/bin/sh
# certbot's --deploy-hook: gives the mail servers a new certificate, which they see by themselves.
# certbot sets RENEWED_LINEAGE.
set -eu
umask 077
for name in fullchain.pem privkey.pem; do
    install -m 0640 -g mailplatform "$RENEWED_LINEAGE/$name" "/etc/mailplatform/tls/$name.new"
done
for name in fullchain.pem privkey.pem; do
    mv "/etc/mailplatform/tls/$name.new" "/etc/mailplatform/tls/$name"
done
