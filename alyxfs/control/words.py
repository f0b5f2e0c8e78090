"""Sentences that a drive says at its mount and commands say later."""

from __future__ import annotations


def staged_words(number: int, *, shows: bool) -> str:
    """That so many writes are staged, and what to do; ``shows``: on a drive that shows them."""
    waiting = f"{number:,} staged {'write waits' if number == 1 else 'writes wait'} to be sent"
    how = "`alyxfs diff --staged` shows what, `alyxfs apply` sends it and `alyxfs discard` forgets it"
    return (
        f"{waiting}: {how}."
        if shows
        else f"{waiting}; this drive does not show it. On one with --stage or --rw, {how}."
    )
