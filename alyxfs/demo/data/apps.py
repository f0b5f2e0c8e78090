"""Registers the area with Django under the name that the real server uses in `content_type`."""

from django.apps import AppConfig


class DataArea(AppConfig):
    name = "alyxfs.demo.data"
    label = "data"
