"""A brain: a few regions of the Allen atlas, in the order of a walk through its tree."""

from alyxfs.demo.experiments.models import BrainRegion

from .tables import Tables

# Key, acronym, name, key of the region above.
REGIONS: list[tuple[int, str, str, int | None]] = [
    (0, "void", "void", None),
    (997, "root", "root", 0),
    (8, "grey", "Basic cell groups and regions", 997),
    (567, "CH", "Cerebrum", 8),
    (688, "CTX", "Cerebral cortex", 567),
    (695, "CTXpl", "Cortical plate", 688),
    (315, "Isocortex", "Isocortex", 695),
    (669, "VIS", "Visual areas", 315),
    (385, "VISp", "Primary visual area", 669),
    (593, "VISp1", "Primary visual area, layer 1", 385),
    (821, "VISp2/3", "Primary visual area, layer 2/3", 385),
    (721, "VISp4", "Primary visual area, layer 4", 385),
    (778, "VISp5", "Primary visual area, layer 5", 385),
    (33, "VISp6a", "Primary visual area, layer 6a", 385),
    (254, "RSP", "Retrosplenial area", 315),
    (1089, "HPF", "Hippocampal formation", 695),
    (1080, "HIP", "Hippocampal region", 1089),
    (375, "CA", "Ammon's horn", 1080),
    (382, "CA1", "Field CA1", 375),
    (423, "CA2", "Field CA2", 375),
    (463, "CA3", "Field CA3", 375),
    (726, "DG", "Dentate gyrus", 1080),
    (343, "BS", "Brain stem", 8),
    (1129, "IB", "Interbrain", 343),
    (549, "TH", "Thalamus", 1129),
    (1020, "PO", "Posterior complex of the thalamus", 549),
    (218, "LP", "Lateral posterior nucleus of the thalamus", 549),
    (313, "MB", "Midbrain", 343),
]
# How many regions a real server has.
COUNT = 1328


def add_regions(tables: Tables) -> list[int]:
    """Add the regions, and invented ones below them up to the usual number; return their keys."""
    regions = list(REGIONS)
    leaf = [key for key, *_ in REGIONS[8:]]
    for number in range(COUNT - len(REGIONS)):
        key = 2000 + number
        regions.append((key, f"X{number:04}", f"Invented region {number}", leaf[number % len(leaf)]))
    by_parent: dict[int | None, list[tuple[int, str, str, int | None]]] = {}
    for region in regions:
        by_parent.setdefault(region[3], []).append(region)
    keys: list[int] = []

    def walk(parent: int | None, level: int) -> None:
        for key, acronym, name, _ in by_parent.get(parent, []):
            tables.add(
                BrainRegion,
                id=key,
                acronym=acronym,
                name=name,
                parent_id=parent,
                description="Pyramidal cells in one layer." if acronym == "CA1" else None,
                level=level,
                position=len(keys),
            )
            keys.append(key)
            walk(key, level + 1)

    walk(None, 0)
    return keys
