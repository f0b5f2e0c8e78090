"""Addresses of sessions, weighings, water and surgeries."""

from django.urls import path

from . import views

urlpatterns = [
    path("procedures", views.ProcedureTypeList.as_view(), name="proceduretype-list"),
    path("sessions", views.SessionList.as_view(), name="session-list"),
    path("sessions/<uuid:pk>", views.SessionDetail.as_view(), name="session-detail"),
    path("surgeries", views.SurgeryList.as_view(), name="surgery-list"),
    path("surgeries/<uuid:pk>", views.SurgeryDetail.as_view(), name="surgery-detail"),
    path("water-administrations", views.WaterAdministrationList.as_view(), name="wateradministration-list"),
    path(
        "water-administrations/<uuid:pk>",
        views.WaterAdministrationDetail.as_view(),
        name="wateradministration-detail",
    ),
    path("water-restriction", views.WaterRestrictionList.as_view(), name="waterrestriction-list"),
    path("water-type", views.WaterTypeList.as_view(), name="watertype-list"),
    path("water-type/<str:name>", views.WaterTypeList.as_view(), name="watertype-detail"),
    path("weighings", views.WeighingList.as_view(), name="weighing-list"),
    path("weighings/<uuid:pk>", views.WeighingDetail.as_view(), name="weighing-detail"),
]
