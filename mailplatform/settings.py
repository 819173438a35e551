"""Every setting of the project, read from the environment or a `.env` file, each with a default that works.

docs/settings.md lists them for operators; no other module reads the environment.
"""

import os
import secrets
import socket
from pathlib import Path

import environ

from mailplatform.look import UNFOLD as UNFOLD

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
environ.Env.read_env(BASE_DIR / ".env")

# --- Where state lives when nothing is configured ---------------------------------------------------------

VAR_DIR = Path(env.str("VAR_DIR", str(BASE_DIR / "var")))
VAR_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)


def _kept_secret(path: Path) -> str:
    """The secret key kept in `path`; made on first use, readable by its owner alone."""
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        pass
    made = path.with_name(f"{path.name}.{os.getpid()}")
    made.touch(mode=0o600)
    made.write_text(secrets.token_urlsafe(64), encoding="ascii")
    try:
        os.link(made, path)  # atomic: of two processes that start at once, one key stays
    except FileExistsError:
        pass
    finally:
        made.unlink()
    return path.read_text(encoding="ascii").strip()


DEBUG = env.bool("DEBUG", False)
SECRET_KEY = env.str("SECRET_KEY", "") or _kept_secret(VAR_DIR / "secret_key")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

# --- Mail --------------------------------------------------------------------------------------------------

#: The name this host calls itself in greetings and Received headers.
MAIL_HOSTNAME = env.str("MAIL_HOSTNAME", socket.getfqdn())
#: Largest message accepted over SMTP and LMTP, in octets (RFC 1870).
MAIL_MAX_OCTETS = env.int("MAIL_MAX_OCTETS", 50 * 1024 * 1024)
#: What follows it in a local part is a detail of the owner's own: jules+shop is jules. Empty: nothing is.
MAIL_RECIPIENT_DELIMITER = env.str("MAIL_RECIPIENT_DELIMITER", "+")
#: Quotas of a new mailbox: octets and messages; 0 is no limit.
MAIL_DEFAULT_QUOTA_OCTETS = env.int("MAIL_DEFAULT_QUOTA_OCTETS", 0)
MAIL_DEFAULT_QUOTA_MESSAGES = env.int("MAIL_DEFAULT_QUOTA_MESSAGES", 0)
#: Days after which messages expire where neither mailbox nor domain says otherwise; 0 is never.
MAIL_EXPIRE_DAYS = env.int("MAIL_EXPIRE_DAYS", 0)
#: How long deleted mail stays on the shelf, in days.
MAIL_SHELF_DAYS = env.int("MAIL_SHELF_DAYS", 30)
#: Networks from which a password may cross an unencrypted connection (promise 6).
PLAINTEXT_NETWORKS = env.list("PLAINTEXT_NETWORKS", default=["127.0.0.0/8", "::1/128"])
#: Networks of proxies: their PROXY header is believed, and a connection from there without one is ended.
PROXY_NETWORKS = env.list("PROXY_NETWORKS", default=[])

# --- POP3 --------------------------------------------------------------------------------------------------

#: Seconds without a command, or without progress of output, before a session ends (RFC 1939, 3: 600 at least).
POP3_IDLE_SECONDS = env.int("POP3_IDLE_SECONDS", 600)
#: Seconds a connection may take to log in.
POP3_LOGIN_SECONDS = env.int("POP3_LOGIN_SECONDS", 60)
#: Seconds between two logins to a mailbox where neither it nor its domain says otherwise (RFC 2449, 6.5); 0 is none.
POP3_LOGIN_DELAY_SECONDS = env.int("POP3_LOGIN_DELAY_SECONDS", 0)
#: Simultaneous connections of one worker.
POP3_MAX_CONNECTIONS = env.int("POP3_MAX_CONNECTIONS", 20_000)
#: Those of them from one IPv4 address or IPv6 /64.
POP3_MAX_CONNECTIONS_PER_ADDRESS = env.int("POP3_MAX_CONNECTIONS_PER_ADDRESS", 100)
#: Memory in which a worker remembers the listings of maildrops.
POP3_LISTINGS_OCTETS = env.int("POP3_LISTINGS_OCTETS", 64 * 1024 * 1024)
#: Seconds without a heartbeat after which a worker counts as dead and its maildrop locks as free.
POP3_WORKER_DEAD_SECONDS = env.int("POP3_WORKER_DEAD_SECONDS", 20)

# --- Logins ------------------------------------------------------------------------------------------------

#: Seconds a verified password is remembered by a process, under a keyed digest; 0 switches the memory off.
CREDENTIAL_CACHE_SECONDS = env.int("CREDENTIAL_CACHE_SECONDS", 300)
#: SCRAM mechanisms that verifiers are kept for; none: the database then holds the slow password hashes alone.
SCRAM_MECHANISMS = env.list("SCRAM_MECHANISMS", default=["SCRAM-SHA-256", "SCRAM-SHA-1"])
#: Rounds of hashing that a verifier, and so a client's login by SCRAM, takes (RFC 5802, 5.1).
SCRAM_ITERATIONS = env.int("SCRAM_ITERATIONS", 10_000)
#: The class that is asked whose bearer token it is, such as accounts.tokens.EndpointIntrospector; empty: none is taken.
OAUTH_INTROSPECTOR = env.str("OAUTH_INTROSPECTOR", "")
#: The endpoint (RFC 7662) that EndpointIntrospector asks, and as whom.
OAUTH_INTROSPECTION_URL = env.str("OAUTH_INTROSPECTION_URL", "")
OAUTH_CLIENT_ID = env.str("OAUTH_CLIENT_ID", "")
OAUTH_CLIENT_SECRET = env.str("OAUTH_CLIENT_SECRET", "")
#: What in its answer is the login name, and the scopes, separated by blanks, that a token has to have.
OAUTH_MAILBOX_CLAIM = env.str("OAUTH_MAILBOX_CLAIM", "username")
OAUTH_REQUIRED_SCOPE = env.str("OAUTH_REQUIRED_SCOPE", "")
#: Networks whose addresses many people share, such as a webmail's: failures count for logins from there, not for them.
THROTTLE_EXEMPT_NETWORKS = env.list("THROTTLE_EXEMPT_NETWORKS", default=[])
#: Login records are kept for so many days, and so many of them at most.
LOGIN_RECORD_DAYS = env.int("LOGIN_RECORD_DAYS", 30)
LOGIN_RECORDS_MAX = env.int("LOGIN_RECORDS_MAX", 1_000_000)
#: The same for the records of POP3 sessions.
SESSION_RECORD_DAYS = env.int("SESSION_RECORD_DAYS", 30)
SESSION_RECORDS_MAX = env.int("SESSION_RECORDS_MAX", 1_000_000)

# --- SMTP and LMTP -----------------------------------------------------------------------------------------

#: Seconds without a word from the client before a session ends (RFC 5321, 4.5.3.2.7: 300 at least).
SMTP_IDLE_SECONDS = env.int("SMTP_IDLE_SECONDS", 300)
#: Seconds a client may take from one message to the end of the next.
SMTP_MESSAGE_SECONDS = env.int("SMTP_MESSAGE_SECONDS", 3600)
#: Simultaneous connections of one worker.
SMTP_MAX_CONNECTIONS = env.int("SMTP_MAX_CONNECTIONS", 2000)
#: Those of them from one IPv4 address or IPv6 /64.
SMTP_MAX_CONNECTIONS_PER_ADDRESS = env.int("SMTP_MAX_CONNECTIONS_PER_ADDRESS", 50)

# --- Relay -------------------------------------------------------------------------------------------------

#: Days after which a message that could not be sent is given up (RFC 5321, 4.5.4.1: four or five at least).
RELAY_GIVE_UP_DAYS = env.int("RELAY_GIVE_UP_DAYS", 5)
#: Simultaneous connections to other servers: of one worker, and of all of them to one destination.
RELAY_CONNECTIONS = env.int("RELAY_CONNECTIONS", 20)
RELAY_DESTINATION_CONNECTIONS = env.int("RELAY_DESTINATION_CONNECTIONS", 5)
#: Name servers that are asked where mail goes, as ADDRESS or ADDRESS#PORT; none: the system's.
RELAY_NAME_SERVERS = env.list("RELAY_NAME_SERVERS", default=[])
#: Whether what domains say of their servers' TLS is held against them: over HTTPS (RFC 8461), and in the DNS
#: (RFC 7672), for which the name servers have to verify signatures and be on this host.
RELAY_MTA_STS = env.bool("RELAY_MTA_STS", True)
RELAY_DANE = env.bool("RELAY_DANE", False)
#: Whether other servers are reached by IPv6 too.
RELAY_IPV6 = env.bool("RELAY_IPV6", True)
#: The port of other servers (RFC 5321, 4.5.4.2).
RELAY_PORT = env.int("RELAY_PORT", 25)
#: HOST or HOST:PORT that takes all mail, instead of the servers of each domain; how TLS is spoken with it, and as whom.
RELAY_SMARTHOST = env.str("RELAY_SMARTHOST", "")
RELAY_SMARTHOST_TLS = env.str("RELAY_SMARTHOST_TLS", "starttls")
RELAY_SMARTHOST_USER = env.str("RELAY_SMARTHOST_USER", "")
RELAY_SMARTHOST_PASSWORD = env.str("RELAY_SMARTHOST_PASSWORD", "")

#: What is done about SPF, DKIM, DMARC and ARC of mail on port 25: refuse (by a domain's policy), mark, or off.
SMTP_AUTHENTICATION = env.str("SMTP_AUTHENTICATION", "refuse")
#: Messages that one client may bring on port 25 in a minute, to one worker; 0 is no limit.
SMTP_MESSAGES_PER_MINUTE = env.int("SMTP_MESSAGES_PER_MINUTE", 300)
#: A spam filter with the HTTP protocol of rspamd, such as http://127.0.0.1:11333; empty: none. Seconds it may take.
SPAM_CHECK_URL = env.str("SPAM_CHECK_URL", "")
SPAM_CHECK_SECONDS = env.int("SPAM_CHECK_SECONDS", 20)
#: Networks whose mail is not looked at so: this host, and relays of one's own that have looked at it.
SMTP_AUTHENTICATION_EXEMPT_NETWORKS = env.list(
    "SMTP_AUTHENTICATION_EXEMPT_NETWORKS", default=["127.0.0.0/8", "::1/128"]
)
#: Networks whose hosts may submit without a login, from addresses of the domains here; for old devices.
SUBMISSION_NETWORKS = env.list("SUBMISSION_NETWORKS", default=[])
#: Whether the addresses in the From header have to be the user's too, not only the reverse-path.
SUBMISSION_CHECK_FROM = env.bool("SUBMISSION_CHECK_FROM", True)
#: What one user may submit on one day (UTC): messages, and recipients in all; 0 is no limit.
SUBMISSION_MESSAGES_PER_DAY = env.int("SUBMISSION_MESSAGES_PER_DAY", 1000)
SUBMISSION_RECIPIENTS_PER_DAY = env.int("SUBMISSION_RECIPIENTS_PER_DAY", 2000)

# --- Collecting ---------------------------------------------------------------------------------------------

#: Keys for the passwords of other accounts: the first encrypts, all decrypt. None: the secret key does both.
COLLECT_KEYS = env.list("COLLECT_KEYS", default=[]) or [SECRET_KEY]
#: Networks beside the public internet from which mail may be collected.
COLLECT_NETWORKS = env.list("COLLECT_NETWORKS", default=[])
#: Accounts that one worker collects from at the same time.
COLLECT_CONNECTIONS = env.int("COLLECT_CONNECTIONS", 4)

# --- Database ----------------------------------------------------------------------------------------------

_default_database = f"sqlite:///{VAR_DIR / 'mailplatform.sqlite3'}"
DATABASES = {"default": env.db_url_config(env.str("DATABASE_URL", "") or _default_database)}
_database = DATABASES["default"]
if _database["ENGINE"] == "django.db.backends.sqlite3":
    # WAL: readers do not wait for the writer. FULL: a commit is on the disk when it returns (promise 1).
    # IMMEDIATE: a transaction that will write asks for the lock at once and waits, instead of failing midway.
    # Pages of 8 kB, for new databases: messages take fewer calls to write and to read than with the 4 kB of old.
    _database["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA page_size=8192; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL",
    }
    _database["TEST"] = {"NAME": str(VAR_DIR / "test.sqlite3")}
else:
    # Seconds, the last milliseconds: a server that has gone without a word keeps no thread waiting for longer than half
    # a minute; TCP by itself takes a quarter of an hour, or hours where nothing is sent. The URL may say otherwise.
    _noticing = {
        "connect_timeout": 10,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 25_000,
    }
    # Parameters apart from the statement: then octets can come as they are, not as hexadecimal text.
    _database["OPTIONS"] = {**_noticing, **_database.get("OPTIONS", {}), "server_side_binding": True}
    # A statement that comes again is parsed and planned once for each connection: a third of what a RETR costs there.
    if env.bool("DATABASE_PREPARED_STATEMENTS", True):
        _database["OPTIONS"]["prepare_threshold"] = 3
    _database["CONN_HEALTH_CHECKS"] = True
    _database["CONN_MAX_AGE"] = env.int("DATABASE_CONN_MAX_AGE", 60)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Django ------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "mailplatform",  # before unfold: its templates come first
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "mailplatform.apps.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "accounts",
    "mailstore",
    "collecting",
    "smtpservice",
    "pop3service",
    "portal",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "mailplatform.headers.ContentSecurityPolicy",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "mailplatform.urls"
WSGI_APPLICATION = "mailplatform.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.debug",
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

AUTH_USER_MODEL = "accounts.User"
LOGIN_REDIRECT_URL = "admin:index"
PASSWORD_HASHERS = [
    "accounts.hashers.Argon2Hasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2SHA1PasswordHasher",
    "django.contrib.auth.hashers.ScryptPasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
    {"NAME": "accounts.passwords.OpaqueStringValidator"},
]

LANGUAGE_CODE = env.str("LANGUAGE_CODE", "en")
LANGUAGES = [("en", "English"), ("fr", "Français")]
LOCALE_PATHS = [BASE_DIR / "locale"]
TIME_ZONE = env.str("TIME_ZONE", "UTC")
USE_I18N = True
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"
STATIC_ROOT.mkdir(exist_ok=True)  # whitenoise warns where it is missing
# Static files are found in the apps without a collecting step; the image collects them when it is built.
WHITENOISE_USE_FINDERS = env.bool("WHITENOISE_USE_FINDERS", True)

# --- Security of the web pages -----------------------------------------------------------------------------

#: Set where the web is served over TLS: cookies are then kept off plain HTTP, which is sent to HTTPS.
HTTPS_ONLY = env.bool("HTTPS_ONLY", False)
SECURE_SSL_REDIRECT = HTTPS_ONLY
SESSION_COOKIE_SECURE = HTTPS_ONLY
CSRF_COOKIE_SECURE = HTTPS_ONLY
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", 31_536_000 if HTTPS_ONLY else 0)
BEHIND_PROXY = env.bool("BEHIND_PROXY", False)
if BEHIND_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
X_FRAME_OPTIONS = "DENY"

# --- Logging -----------------------------------------------------------------------------------------------

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": env.str("LOG_LEVEL", "INFO")},
}
