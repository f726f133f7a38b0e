"""What the tasks have in common that make one kind of text."""

from __future__ import annotations

__all__ = ["OneTerm"]


class OneTerm:
    """A task with one loss term, which looks at its own record alone."""

    __slots__ = ()
    needs_other_caption = False

    @property
    def terms(self) -> dict[str, float]:
        """One, without a name."""
        return {"": 1.0}
