"""Every setting, read once from the environment. `.env.example` documents each variable; a test holds them together.

Two modes. `local` (the default) serves http://localhost only, and keeps its keys and its own PostgreSQL and Valkey
under AGENTVALET_DATA. `production` takes everything from the environment and refuses to start half-configured. The
fault suite has a third, `test`: it is `local` with live crash points (`crash_points`).
"""

import os
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import django_stubs_ext
import environ
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from agentvalet import embedded, environment

django_stubs_ext.monkeypatch()  # ModelAdmin[…] is no generic at run time

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env(
    AGENTVALET_MODE=(str, "local"),
    AGENTVALET_DATA=(str, "var"),
    AGENTVALET_PUBLIC_URL=(str, "http://localhost:8080"),
    AGENTVALET_SECRET_KEY=(str, ""),
    AGENTVALET_VAULT_KEYS=(str, ""),
    AGENTVALET_SEAL_KEY=(str, ""),
    AGENTVALET_AUDIT_KEY=(str, ""),
    AGENTVALET_TOKEN_KEY=(str, ""),
    AGENTVALET_RECEIPT_KEY=(str, ""),
    AGENTVALET_RETIRED_RECEIPT_KEYS=(str, ""),
    AGENTVALET_VAPID_KEY=(str, ""),
    DATABASE_URL=(str, ""),
    REDIS_URL=(str, ""),
    AGENTVALET_PRIVATE_TARGETS=(list, []),
    AGENTVALET_PROXY_HOPS=(int, 0),
    AGENTVALET_APPROVAL_LIFETIME=(int, 600),
    AGENTVALET_KEY_OVERLAP=(int, 3600),
    AGENTVALET_ANONYMOUS_PER_MINUTE=(int, 60),
    AGENTVALET_ACTIONS_PER_MINUTE=(int, 600),
    AGENTVALET_REQUESTS_PER_MINUTE=(int, 600),
    AGENTVALET_IDEMPOTENCY_KEYS_PER_DAY=(int, 10_000),
    AGENTVALET_AGENT_CONCURRENCY=(int, 4),
    AGENTVALET_PLATFORM_CONCURRENCY=(int, 24),
    AGENTVALET_CIRCUIT_FAILURES=(int, 10),
    AGENTVALET_CIRCUIT_SECONDS=(float, 30.0),
    AGENTVALET_PLATFORM_WAIT=(float, 600.0),
    AGENTVALET_MAX_PENDING=(int, 20),
    AGENTVALET_MAX_CHILDREN=(int, 50),
    AGENTVALET_MAX_REQUEST_BYTES=(int, 1024 * 1024),
    AGENTVALET_MAX_RESPONSE_BYTES=(int, 4 * 1024 * 1024),
    AGENTVALET_DIRECT_TIMEOUT=(float, 12.0),
    AGENTVALET_APPROVED_TIMEOUT=(float, 30.0),
    AGENTVALET_LEASE_MARGIN=(float, 15.0),
    AGENTVALET_CA_BUNDLE=(str, ""),
    AGENTVALET_EMAIL_URL=(str, ""),
    AGENTVALET_EMAIL_FROM=(str, ""),
    AGENTVALET_WEB_THREADS=(int, 32),
    AGENTVALET_WORKER_THREADS=(int, 32),
    AGENTVALET_LOG_LEVEL=(str, "INFO"),
)


def setting(name: str) -> Any:
    """NAME from the environment, as the type its default has."""
    try:
        return env(name)
    except ValueError:
        raise ImproperlyConfigured(f"{name} is {env.str(name)!r}: give a number.") from None


MODE = setting("AGENTVALET_MODE")
if MODE not in {"local", "production", "test"}:
    raise ImproperlyConfigured(f"AGENTVALET_MODE is {MODE!r}: set it to 'local' or 'production'.")
PRODUCTION = MODE == "production"
UNKNOWN_VARIABLES = {} if MODE == "test" else environment.unknown(os.environ, known=env.scheme)  # `up` tells of them
if PRODUCTION:
    # A misspelt limit is no limit. What resembles no setting may be somebody else's.
    problems = [environment.lacking(os.environ), *(text for text in UNKNOWN_VARIABLES.values() if text.endswith("?"))]
    if any(problems):
        raise ImproperlyConfigured(" ".join(problem for problem in problems if problem))
if MODE != "test" and env.str("AGENTVALET_CRASH_POINTS", default=""):
    raise ImproperlyConfigured("AGENTVALET_CRASH_POINTS is set: it is for ending processes in tests. Unset it.")

DATA_DIR = (BASE_DIR / setting("AGENTVALET_DATA")).resolve()
KEYS_DIR = DATA_DIR / "keys"  # local mode only; made by agentvalet.keys at the first start


def given_secret(name: str) -> str:
    """The secret NAME from the environment, or from the file that NAME_FILE points to; "" without either."""
    path = env.str(f"{name}_FILE", default="")
    if path and not Path(path).is_file():
        raise ImproperlyConfigured(f"{name}_FILE names {path}, which is not a file: mount it or unset the variable.")
    return env.str(name, default="") or (Path(path).read_text().strip() if path else "")


def secret(name: str) -> str:
    """The secret NAME from the environment, from the file NAME_FILE points to, or (local mode) from KEYS_DIR.

    Local mode returns "" before the first start has made the key files, so that `manage.py check` and the type
    checker can load the settings; whatever needs the key fails with a sentence of its own.
    """
    if value := given_secret(name):
        return value
    if PRODUCTION:  # an empty file; what is not set was found above
        raise ImproperlyConfigured(f"{env.str(f'{name}_FILE', default='')} is empty: {name}_FILE names it.")
    kept = KEYS_DIR / name.removeprefix("AGENTVALET_").lower()
    return kept.read_text().strip() if kept.is_file() else ""


# --- Where people and agents reach us. Links, cookies and origins come from here, never from a Host header.
PUBLIC_URL = setting("AGENTVALET_PUBLIC_URL").rstrip("/")
_public = urlsplit(PUBLIC_URL)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


if _public.scheme not in {"http", "https"} or not _public.hostname or _public.path or _public.query:
    raise ImproperlyConfigured(
        f"AGENTVALET_PUBLIC_URL is {PUBLIC_URL!r}: give scheme and host, as in https://valet.example.com."
    )
if PRODUCTION and _public.scheme != "https":
    raise ImproperlyConfigured("AGENTVALET_PUBLIC_URL must begin with https:// in production mode.")
if not PRODUCTION and not _is_loopback(_public.hostname):
    raise ImproperlyConfigured(
        f"AGENTVALET_PUBLIC_URL names {_public.hostname}, but local mode serves this machine only:"
        " set AGENTVALET_MODE=production."
    )
HTTPS = _public.scheme == "https"
ALLOWED_HOSTS = [_public.hostname] if PRODUCTION else [_public.hostname, "localhost", "127.0.0.1"]
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
PROXY_HOPS = setting("AGENTVALET_PROXY_HOPS")
if PROXY_HOPS < 0:
    raise ImproperlyConfigured("AGENTVALET_PROXY_HOPS is less than none: say how many proxies of yours stand in front.")

# --- Secrets
SECRET_KEY = secret("AGENTVALET_SECRET_KEY")
VAULT_KEYS = secret("AGENTVALET_VAULT_KEYS")  # "id:base64,kms:ARN": the first one seals
SEAL_KEY = secret("AGENTVALET_SEAL_KEY")  # base64, 32 bytes: HMAC over decisions
AUDIT_KEY = secret("AGENTVALET_AUDIT_KEY")  # base64, 32 bytes: Ed25519 seed that signs audit checkpoints
TOKEN_KEY = secret("AGENTVALET_TOKEN_KEY")  # base64, 32 bytes: Ed25519 seed that signs the tokens of child agents
RECEIPT_KEY = secret("AGENTVALET_RECEIPT_KEY")  # base64, 32 bytes: P-256, signs receipts; earlier ones after commas
RETIRED_RECEIPT_KEYS = setting("AGENTVALET_RETIRED_RECEIPT_KEYS")  # a file: a JWK set of earlier ones, public halves
VAPID_KEY = secret("AGENTVALET_VAPID_KEY")  # base64, 32 bytes: P-256 scalar that signs what goes to push services

# --- Apps
INSTALLED_APPS = [
    "agentvalet",
    "approvals",
    "notifications",
    "platforms",
    "agents",
    "audit",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "csp",
]
MIDDLEWARE = [
    "agentvalet.middleware.Stamp",
    "agentvalet.middleware.BoundedBody",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "agents.middleware.SignInRequired",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "agentvalet.urls"
WSGI_APPLICATION = "agentvalet.wsgi.application"
APPEND_SLASH = False  # a redirect drops the body of a POST, and clients do not follow it
AUTH_USER_MODEL = "agents.User"
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "approvals"
LOGOUT_REDIRECT_URL = "sign-in"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "agentvalet.navigation.counts",
                "agents.appearance.theme",
            ],
        },
    }
]

# --- Size. What a thread costs is memory while it waits, and a database connection while it works.
WEB_THREADS = setting("AGENTVALET_WEB_THREADS")
WORKER_THREADS = setting("AGENTVALET_WORKER_THREADS")
SWEEPER_THREADS = 3  # one sweep, one checkpoint, one check of a whole audit chain
MESSENGER_THREADS = 12  # three of its shares (`notifications.shares`)
if min(WEB_THREADS, WORKER_THREADS) < 2:
    raise ImproperlyConfigured("AGENTVALET_WEB_THREADS and AGENTVALET_WORKER_THREADS must be 2 or more.")

# --- State. Without DATABASE_URL and REDIS_URL: the embedded servers that `manage.py up` starts.
DATABASES = {"default": env.db_url_config(setting("DATABASE_URL") or embedded.database_url(DATA_DIR))}
DATABASES["default"] |= {
    "ENGINE": "agentvalet.postgresql",  # Django's own; hands out no connection that died with a restart of the database
    "CONN_MAX_AGE": 0,  # the pool keeps the connections
    "OPTIONS": DATABASES["default"].get("OPTIONS", {})
    | {
        # As many as any one process has threads, and two to spare: nobody waits for a connection that another holds.
        "pool": {"min_size": 1, "max_size": max(WEB_THREADS, WORKER_THREADS) + 2, "timeout": 10},
        "server_side_binding": True,
        "prepare_threshold": 1,
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
REDIS_URL = setting("REDIS_URL") or embedded.redis_url(DATA_DIR)
CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}}

# --- Work. The truth is in PostgreSQL: a message only wakes a worker, a sweep collects what a lost one left behind.
CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://", 1).replace("?db=", "?virtual_host=", 1)
CELERY_TASK_DEFAULT_QUEUE = "celery"  # approved calls
CELERY_TASK_IGNORE_RESULT = True
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 60,
    "socket_timeout": 5,
    "socket_connect_timeout": 2,
    "max_retries": 1,  # of one publication; a worker goes on trying for as long as the broker is away
    "interval_start": 0,
}
CELERY_TASK_PUBLISH_RETRY = False  # nobody waits for a broker: the sweep sends again
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
# Calls wait for platforms. What looks after them must never wait behind them: it has a queue and a worker of its own,
# and so have messages, which wait for push services and mail servers.
CELERY_TASK_ROUTES = {
    name: {"queue": "sweep"}
    for name in ("approvals.sweep", "notifications.sweep", "audit.checkpoint", "audit.check", "agentvalet.tidy")
}
CELERY_TASK_ROUTES |= {name: {"queue": "messages"} for name in ("notifications.push", "approvals.mail_link")}
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = "UTC"

# --- Pages
STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {"staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"}}
LANGUAGE_CODE = "en"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"

# --- What a browser may do with our pages
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "manifest-src": [SELF],
        "worker-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
    }
}
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0  # sent by agentvalet.middleware.Stamp, whatever a proxy says
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_NAME = "__Host-session" if HTTPS else "agentvalet_session"
CSRF_COOKIE_NAME = "__Host-csrf" if HTTPS else "agentvalet_csrf"
SESSION_ENGINE = "agents.sessions"
SESSION_COOKIE_AGE = 7 * 24 * 3600
CSRF_FAILURE_VIEW = "agentvalet.errors.csrf_failure"

# --- Telling people
_mail = env.email_url_config(given_secret("AGENTVALET_EMAIL_URL") or f"filemail:///{(DATA_DIR / 'mail').as_posix()}")
EMAIL_BACKEND = _mail["EMAIL_BACKEND"]
EMAIL_IS_SENT = "smtp" in EMAIL_BACKEND  # else it is written to files or to the console, for a try
EMAIL_FILE_PATH = _mail["EMAIL_FILE_PATH"]
EMAIL_HOST, EMAIL_PORT = _mail["EMAIL_HOST"] or "localhost", _mail["EMAIL_PORT"] or 25
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _mail["EMAIL_HOST_USER"] or "", _mail["EMAIL_HOST_PASSWORD"] or ""
EMAIL_USE_TLS, EMAIL_USE_SSL = _mail.get("EMAIL_USE_TLS", False), _mail.get("EMAIL_USE_SSL", False)
EMAIL_TIMEOUT = 10  # seconds for each answer of the mail server
_mail_host = "localhost" if ":" in _public.hostname else _public.hostname  # no IPv6 address
DEFAULT_FROM_EMAIL = setting("AGENTVALET_EMAIL_FROM") or f"AgentValet <agentvalet@{_mail_host}>"
PUSH_TRANSPORT = "platforms.push_transport.post"  # the guarded way out, which is a layer above what uses it
PUSH_CONTACT = PUBLIC_URL if HTTPS else "mailto:agentvalet@localhost"  # for push services, should we bother them

# --- The agent API
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["agents.authentication.AssertionAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["agentvalet.api.StrictJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "agentvalet.openapi.Operation",
    # JSON whatever Accept says, no ?format=, no descriptions on OPTIONS.
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "agents.streams.AnyAccept",
    "URL_FORMAT_OVERRIDE": None,
    "DEFAULT_METADATA_CLASS": None,
    "EXCEPTION_HANDLER": "agentvalet.api.exception_handler",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "AgentValet agent API",
    "DESCRIPTION": "What agents and their command-line tools say to this server. Every error has the shape of Error.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SERVERS": [{"url": PUBLIC_URL}],
    "SCHEMA_PATH_PREFIX": "/(v1|functions/v1)",
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "agentvalet.openapi.complete",
    ],
}

# --- The product's own limits (seconds, bytes)
APPROVAL_LIFETIME = setting("AGENTVALET_APPROVAL_LIFETIME")
KEY_OVERLAP = setting("AGENTVALET_KEY_OVERLAP")
ANONYMOUS_PER_MINUTE = setting("AGENTVALET_ANONYMOUS_PER_MINUTE")
ACTIONS_PER_MINUTE = setting("AGENTVALET_ACTIONS_PER_MINUTE")
REQUESTS_PER_MINUTE = setting("AGENTVALET_REQUESTS_PER_MINUTE")  # to each endpoint that makes no calls
IDEMPOTENCY_KEYS_PER_DAY = setting("AGENTVALET_IDEMPOTENCY_KEYS_PER_DAY")  # each is kept for 24 h, with its answer
AGENT_CONCURRENCY = setting("AGENTVALET_AGENT_CONCURRENCY")  # direct calls under way of an agent and its children
PLATFORM_CONCURRENCY = setting("AGENTVALET_PLATFORM_CONCURRENCY")  # calls under way to one platform of one owner
CIRCUIT_FAILURES = setting("AGENTVALET_CIRCUIT_FAILURES")  # in a row; then the platform is not called …
CIRCUIT_SECONDS = setting("AGENTVALET_CIRCUIT_SECONDS")  # … for this long, and after it by one call only
PLATFORM_WAIT = setting("AGENTVALET_PLATFORM_WAIT")  # how long an approved call waits for it
MAX_PENDING = setting("AGENTVALET_MAX_PENDING")  # calls of an agent and its children that wait for a person
MAX_CHILDREN = setting("AGENTVALET_MAX_CHILDREN")  # live children of one agent
MAX_REQUEST_BYTES = setting("AGENTVALET_MAX_REQUEST_BYTES")
MAX_RESPONSE_BYTES = setting("AGENTVALET_MAX_RESPONSE_BYTES")
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_REQUEST_BYTES
FILE_UPLOAD_HANDLERS = ["agentvalet.middleware.RefuseFiles"]
DIRECT_TIMEOUT = setting("AGENTVALET_DIRECT_TIMEOUT")  # clients give up at 15 s
APPROVED_TIMEOUT = setting("AGENTVALET_APPROVED_TIMEOUT")
LEASE_MARGIN = setting("AGENTVALET_LEASE_MARGIN")
PRIVATE_TARGETS = setting("AGENTVALET_PRIVATE_TARGETS")
CA_BUNDLE = setting("AGENTVALET_CA_BUNDLE")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"()": "agentvalet.logs.CutTokens", "format": "%(asctime)s %(levelname)s %(name)s %(message)s"}
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": setting("AGENTVALET_LOG_LEVEL")},
    "loggers": {
        "django.server": {"level": "WARNING"},
        "django.request": {"level": "ERROR"},
        # writes down at DEBUG what it sends and gets, data keys among it
        "botocore": {"level": "INFO"},
        # two lines for every sweep, every two seconds
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
    },
}
