"""The app: optional in INSTALLED_APPS, and there only to have the system checks run. Nothing else belongs here."""

from django.apps import AppConfig
from django.core import checks

from holdall_django.checks import check_settings


class HoldallConfig(AppConfig):  # type: ignore[misc]
    """Registers the system checks. Put `"holdall_django"` into INSTALLED_APPS."""

    name = "holdall_django"
    verbose_name = "Holdall sessions"

    def ready(self) -> None:
        """Register what explains a misconfiguration at start-up."""
        checks.register(check_settings, "holdall")
