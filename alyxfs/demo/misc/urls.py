"""Addresses of labs, users, places and notes."""

from django.urls import path, re_path

from . import views

urlpatterns = [
    path("labs", views.LabList.as_view(), name="lab-list"),
    path("labs/<str:name>", views.LabDetail.as_view(), name="lab-detail"),
    path("locations", views.LocationList.as_view(), name="location-list"),
    path("locations/<str:name>", views.LocationDetail.as_view(), name="location-detail"),
    path("notes", views.NoteList.as_view(), name="note-list"),
    path("notes/<uuid:pk>", views.NoteDetail.as_view(), name="note-detail"),
    path("users", views.UserList.as_view(), name="user-list"),
    path("users/<str:username>", views.UserDetail.as_view(), name="user-detail"),
    re_path(r"^uploaded/(?P<image_path>.*)", views.UploadedView.as_view(), name="uploaded"),
]
