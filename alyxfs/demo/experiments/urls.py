"""Addresses of insertions, trajectories, channels, regions and fields of view."""

from django.urls import path

from . import views

urlpatterns = [
    path("insertions", views.InsertionList.as_view(), name="probeinsertion-list"),
    path("insertions/<uuid:pk>", views.InsertionDetail.as_view(), name="probeinsertion-detail"),
    path("trajectories", views.TrajectoryList.as_view(), name="trajectoryestimate-list"),
    path("trajectories/<uuid:pk>", views.TrajectoryDetail.as_view(), name="trajectoryestimate-detail"),
    path("channels", views.ChannelList.as_view(), name="channel-list"),
    path("channels/<uuid:pk>", views.ChannelDetail.as_view(), name="channel-detail"),
    path("brain-regions", views.BrainRegionList.as_view(), name="brainregion-list"),
    path("brain-regions/<int:pk>", views.BrainRegionDetail.as_view(), name="brainregion-detail"),
    path("chronic-insertions", views.ChronicInsertionList.as_view(), name="chronicinsertion-list"),
    path(
        "chronic-insertions/<uuid:pk>",
        views.ChronicInsertionDetail.as_view(),
        name="chronicinsertion-detail",
    ),
    path("fields-of-view", views.FieldOfViewList.as_view(), name="fieldofview-list"),
    path("fields-of-view/<uuid:pk>", views.FieldOfViewDetail.as_view(), name="fieldofview-detail"),
    path("fov-location", views.LocationList.as_view(), name="fieldofviewlocation-list"),
    path("fov-location/<uuid:pk>", views.LocationDetail.as_view(), name="fieldofviewlocation-detail"),
    path("imaging-stack", views.StackList.as_view(), name="imagingstack-list"),
    path("imaging-stack/<uuid:pk>", views.StackDetail.as_view(), name="imagingstack-detail"),
]
