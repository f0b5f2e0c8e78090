"""Walking through the tree of brain regions."""

from typing import Any

from .models import BrainRegion, FieldOfView, ProbeInsertion

# From this provenance on, the channels of a trajectory are where they say they are.
ALIGNED = 70


class RegionTree:
    """Parents and children of all regions, read once."""

    def __init__(self) -> None:
        self.regions = {region.pk: region for region in BrainRegion.objects.all()}
        self.children: dict[int, list[int]] = {}
        for region in self.regions.values():
            if region.parent_id is not None:
                self.children.setdefault(region.parent_id, []).append(region.pk)

    def ancestors(self, key: int) -> list[int]:
        """All regions above this one, the topmost first."""
        above: list[int] = []
        parent = self.regions[key].parent_id
        while parent is not None:
            above.insert(0, parent)
            parent = self.regions[parent].parent_id
        return above

    def descendants(self, key: int) -> list[int]:
        """All regions below this one."""
        below: list[int] = []
        for child in self.children.get(key, []):
            below += [child, *self.descendants(child)]
        return below

    def descriptions(self, key: int) -> list[dict[str, Any]]:
        """What is written about the regions above and below."""
        around = (self.regions[each] for each in self.ancestors(key) + self.descendants(key))
        return [
            {"id": each.pk, "name": each.name, "description": each.description, "level": each.level}
            for each in around
            if each.description is not None
        ]


def in_regions(lookup: str, value: Any) -> tuple[Any, Any]:
    """Return the insertions and the fields of view that lie in the regions found, or below them."""
    tree = RegionTree()
    found = BrainRegion.objects.filter(**{lookup: value}).values_list("pk", flat=True)
    keys = {each for key in found for each in [key, *tree.descendants(key)]}
    insertions = ProbeInsertion.objects.filter(
        trajectory_estimate__provenance__gte=ALIGNED,
        trajectory_estimate__channels__brain_region__in=keys,
    )
    views = FieldOfView.objects.filter(location__default_provenance=True, location__brain_region__in=keys)
    return insertions.values("pk"), views.values("pk")
