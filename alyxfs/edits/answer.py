"""What the server made of a write: its answer compared, field by field, with what was sent and what was there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alyxfs.alyx.quirks import side_effects
from alyxfs.alyx.quirks import writing as quirks
from alyxfs.edits import losses, validate
from alyxfs.edits.merge import MISSING, differences_after_saving, same

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alyxfs.edits.request import Request


def not_done(request: Request, key: str, after: Mapping[str, Any]) -> str | None:
    """A sentence on what the server accepted and did not do; None where all was done."""
    sent = _comparable(request)
    missed = differences_after_saving(sent, dict(after))
    if not missed:
        return None
    values = "; ".join(
        f"{name} was sent as {validate.quoted(sent[name])} and is {validate.quoted(after.get(name))}" for name in missed
    )
    return f"The server accepted the change of {request.endpoint.name}/{key} but did not do all of it: {values}."


def done_besides(request: Request, after: Mapping[str, Any]) -> str | None:
    """Sentences on what the server did besides, and on what no undo will take back; None where there are none."""
    endpoint, sent, before = request.endpoint, request.document or {}, request.before or {}
    stamps = side_effects.STAMPS.get(endpoint.name, ())
    passing = {"url", *stamps, *quirks.COMPUTED.get(endpoint.name, ())}
    unordered = validate.unordered_fields(endpoint)
    changed = [
        f"{name} from {validate.quoted(value)} to {validate.quoted(after[name])}"
        for name, value in before.items()
        if name in after and name not in sent and name not in passing
        if not same(value, after[name], unordered=name in unordered)
    ]
    trimmed = [
        name
        for name, value in sent.items()
        if isinstance(value, str) and value != value.strip() and after.get(name, MISSING) == value.strip()
    ]
    sentences = [f"The server also changed {', '.join(changed)}."] if changed else []
    if trimmed:
        sentences.append(f"The server took the blanks at the ends of {', '.join(trimmed)} away.")
    if request.method == "PATCH":
        edited = {name: value for name, value in sent.items() if not same(value, before.get(name, MISSING))}
        sentences += losses.told_of_change(endpoint, before, edited)
        anew = [name for name in stamps if before.get(name) != after.get(name) or name in side_effects.HIDDEN_STAMPS]
        sentences += [f"The server set {', '.join(anew)} anew."] if anew else []
    if not request.image:
        stays = side_effects.side_effects(endpoint.name, request.method, frozenset(sent), (before, after))
        sentences += [f"What no undo takes back: {' '.join(stays)}"] if stays else []
    return " ".join(sentences) or None


def _comparable(request: Request) -> dict[str, Any]:
    """What was sent and must be found in the answer: not what only a POST takes, nor what was merely sent again."""
    hidden = quirks.CREATE_ONLY.get(request.endpoint.name, frozenset())
    fields = {field: value for field, value in (request.document or {}).items() if field not in hidden}
    if request.method != "PATCH":
        replaced = quirks.FILLED_IN_BY_SERVER.get(request.endpoint.name, {})
        return {field: value for field, value in fields.items() if field not in replaced or value != replaced[field]}
    resent = quirks.RESENT_ON_PATCH.get(request.endpoint.name, ())
    before = request.before or {}
    return {field: value for field, value in fields.items() if field not in resent or value != before.get(field)}
