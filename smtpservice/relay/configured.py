"""The relay as the settings have it."""

from django.conf import settings

from mailplatform.bridge import Bridge
from smtpservice.relay.destinations import Destination, Login, MailExchanges, Smarthost
from smtpservice.relay.mta_sts import Policies
from smtpservice.relay.routes import Router
from smtpservice.relay.smarthost import SMARTHOST_PORTS, split_host
from smtpservice.relay.worker import Limits, Relay


def make_relay(bridge: Bridge) -> Relay:
    """A relay that does what the settings say."""
    return Relay(
        bridge,
        make_destination(),
        Limits(connections=settings.RELAY_CONNECTIONS, per_destination=settings.RELAY_DESTINATION_CONNECTIONS),
    )


def make_destination() -> Destination:
    """The hosts of each domain, or the smarthost where there is one."""
    router = Router(
        name_servers=settings.RELAY_NAME_SERVERS, ourselves=settings.MAIL_HOSTNAME, ipv6=settings.RELAY_IPV6
    )
    if not settings.RELAY_SMARTHOST:
        return MailExchanges(
            router,
            hostname=settings.MAIL_HOSTNAME,
            port=settings.RELAY_PORT,
            policies=Policies(router) if settings.RELAY_MTA_STS else None,
            dane=settings.RELAY_DANE,
        )
    host, port = split_host(settings.RELAY_SMARTHOST)
    user = settings.RELAY_SMARTHOST_USER
    return Smarthost(
        router,
        host=host,
        port=port or SMARTHOST_PORTS[settings.RELAY_SMARTHOST_TLS],
        tls=settings.RELAY_SMARTHOST_TLS,
        login=Login(user, settings.RELAY_SMARTHOST_PASSWORD) if user else None,
        hostname=settings.MAIL_HOSTNAME,
    )
