"""Django's settings of the served process."""

from pathlib import Path
from typing import Any

AREAS = ("misc", "subjects", "actions", "data", "experiments", "jobs")


def configure(home: Path, *, throttle: int | None = None, core_api: bool = False) -> None:
    """Set Django up to serve, or to fill, the database in this directory."""
    import django  # noqa: PLC0415 - only the served process may need it
    from django.conf import settings  # noqa: PLC0415

    settings.configure(**settings_for(home, throttle=throttle, core_api=core_api))
    django.setup()


def settings_for(home: Path, *, throttle: int | None, core_api: bool) -> dict[str, Any]:
    """Return the settings as one dictionary."""
    return {
        "DEBUG": False,
        "SECRET_KEY": "a demo has no secrets",
        "ALLOWED_HOSTS": ["*"],
        "ROOT_URLCONF": "alyxfs.demo.urls",
        "INSTALLED_APPS": [
            "django.contrib.admin",  # for its log of what users did there
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "django.contrib.staticfiles",
            "rest_framework",
            "rest_framework.authtoken",
            "django_filters",
            "drf_spectacular",
            *(f"alyxfs.demo.{area}.apps.{area.capitalize()}Area" for area in AREAS),
        ],
        "MIDDLEWARE": [
            "alyxfs.demo.common.middleware.remember_user",
            "django.middleware.security.SecurityMiddleware",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.middleware.clickjacking.XFrameOptionsMiddleware",
        ],
        "TEMPLATES": [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
        "DATABASES": {"default": database_in(home)},
        "AUTH_USER_MODEL": "misc.LabMember",
        "DEFAULT_AUTO_FIELD": "django.db.models.AutoField",
        "DATA_UPLOAD_MAX_MEMORY_SIZE": 64 * 2**20,
        "TIME_ZONE": "UTC",
        "USE_TZ": False,
        "USE_I18N": False,
        "STATIC_URL": "/static/",
        "MEDIA_ROOT": str(home / "uploaded"),
        "MEDIA_URL": "/uploaded/",
        "UPLOADED_IMAGE_WIDTH": 800,
        # The passwords are told to everybody: hashing them well would only make log-ins slow.
        "PASSWORD_HASHERS": ["django.contrib.auth.hashers.MD5PasswordHasher"],
        "LOGGING": only_crashes(),
        "REST_FRAMEWORK": rest_framework(),
        "SPECTACULAR_SETTINGS": {"DISABLE_ERRORS_AND_WARNINGS": True},
        "DEMO_THROTTLE_PER_MINUTE": throttle,
        "DEMO_CORE_API": core_api,
        "DEMO_TABLES": str(home / "tables"),
    }


def database_in(home: Path) -> dict[str, Any]:
    """Return SQLite in the directory; readers and one writer at a time do not wait for each other."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(home / "alyx.sqlite3"),
        # Each connection of a client has a thread of its own, which keeps its database connection.
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            "timeout": 30,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-65536;",
        },
    }


def rest_framework() -> dict[str, Any]:
    """Return what the real server sets, as far as it shows in answers."""
    return {
        # The first of them decides that a missing log-in is a 403 and never a 401.
        "DEFAULT_AUTHENTICATION_CLASSES": (
            "rest_framework.authentication.SessionAuthentication",
            "rest_framework.authentication.TokenAuthentication",
        ),
        "DEFAULT_THROTTLE_CLASSES": ["alyxfs.demo.common.throttle.PerUserThrottle"],
        "DEFAULT_FILTER_BACKENDS": ("django_filters.rest_framework.DjangoFilterBackend",),
        "DEFAULT_PAGINATION_CLASS": "alyxfs.demo.common.pages.CappedPages",
        "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
        "EXCEPTION_HANDLER": "alyxfs.demo.common.errors.answer_error",
        "PAGE_SIZE": 250,
        # NaN is read and written bare, which is not JSON.
        "STRICT_JSON": False,
    }


def only_crashes() -> dict[str, Any]:
    """Show what no view has turned into an answer; that a request was refused is in the request log."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {
            "crashes": {
                "()": "django.utils.log.CallbackFilter",
                "callback": lambda record: record.exc_info is not None,
            }
        },
        "handlers": {"console": {"class": "logging.StreamHandler", "filters": ["crashes"]}},
        "loggers": {"django.request": {"handlers": ["console"], "propagate": False}},
    }
