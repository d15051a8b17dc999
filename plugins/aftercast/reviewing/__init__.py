"""The folder of postmortems and their review: states with dates, changed line by line, and never a word of a person overwritten."""

from __future__ import annotations

from aftercast.reviewing.asking import OPTIONS, Answer, Request, Standing, answer, request, standings, to_ask
from aftercast.reviewing.comparing import Comparison, Kept, compare, find, kept
from aftercast.reviewing.folder import Document, Put, change, documents, put_draft, read, versions

__all__ = [
    "OPTIONS",
    "Answer",
    "Comparison",
    "Document",
    "Kept",
    "Put",
    "Request",
    "Standing",
    "answer",
    "change",
    "compare",
    "documents",
    "find",
    "kept",
    "put_draft",
    "read",
    "request",
    "standings",
    "to_ask",
    "versions",
]
