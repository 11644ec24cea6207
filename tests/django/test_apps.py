"""The app that has the system checks run."""

from django.core import checks
from django.test import override_settings
from holdall_django.checks import check_settings


def test_app_registers_the_checks() -> None:
    """With `holdall_django` in INSTALLED_APPS the checks run with all others."""
    registered = checks.registry.registry.registered_checks
    try:
        with override_settings(INSTALLED_APPS=["holdall_django"], SECRET_KEY="short"):
            assert [each.id for each in checks.run_checks(tags=["holdall"])] == ["holdall.E004"]
    finally:
        registered.discard(check_settings)
