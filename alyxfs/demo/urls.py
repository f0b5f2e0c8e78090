"""All addresses of the demo Alyx."""

from importlib import import_module

from django.conf import settings
from django.urls import path
from django.views.generic import RedirectView
from rest_framework.authtoken.views import obtain_auth_token

from .schema import Documentation, Schema
from .settings import AREAS

urlpatterns = [
    path("auth-token", obtain_auth_token),
    # The pages for people are left out; where they begin shows all the same.
    path("", RedirectView.as_view(url="/admin")),
    path("admin/", RedirectView.as_view(url="/admin/login/?next=/admin/")),
    path("docs/", Documentation.as_view(url_name="schema"), name="documentation"),
]
for area in AREAS:
    urlpatterns += import_module(f"alyxfs.demo.{area}.urls").urlpatterns

# An older Alyx has only the Core API document at /docs/.
if not settings.DEMO_CORE_API:
    urlpatterns.append(path("api/schema", Schema.as_view(), name="schema"))
