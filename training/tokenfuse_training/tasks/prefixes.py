"""The sign of each task: what its prompts begin with.

[D] One model, several tasks: the task is a prefix of the text. Questions of every data set have
the same sign, which is also the one that `Model.answer` of the SDK writes.
"""

from __future__ import annotations

__all__ = ["PREFIXES", "TASKS", "prompt"]

PREFIXES = {
    "caption": "caption:",
    "complete": "complete:",
    "match": "match:",
    "fill": "fill:",
    "vqa": "answer:",
    "gqa": "answer:",
    "entail": "entail:",
}

# All that `task` of a stage may be; scenes ask in the words of their own families.
TASKS = (*PREFIXES, "scenes")


def prompt(task: str, text: str) -> str:
    """A task's sign and a text behind it, its blanks single."""
    return " ".join((PREFIXES[task], *text.split()))
