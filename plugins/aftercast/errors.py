"""The errors Aftercast raises on purpose. Each message says who, what, how many, and what to do."""

import re

LONGEST_WORD = 200
_LONG = re.compile(rf"\S{{{LONGEST_WORD},}}")


class AftercastError(Exception):
    """Base of every error raised on purpose; the command line prints it without a traceback.

    What was found in a file or an answer is repeated as far as a person reads it: a word of a million letters is shortened.
    """

    def __str__(self) -> str:
        return _LONG.sub(lambda word: f"{word[0][: LONGEST_WORD // 2]}… ({len(word[0]):,} characters)", super().__str__())


class ConfigError(AftercastError):
    """A configuration file holds something we cannot use; names the file, the row and the key."""


class SourceUnavailable(AftercastError):
    """A source could not be reached or did not answer; a retry may help."""


class SourceRejected(AftercastError):
    """A source answered, but with something we cannot use; a retry will not help."""


class LandingError(AftercastError):
    """A frame cannot be landed at all (for example a required column is missing everywhere)."""


class QualityError(AftercastError):
    """A quality gate failed; nothing past the gate was changed."""


class TransformError(AftercastError):
    """dbt reported failing nodes; names them."""


class WarehouseError(AftercastError):
    """The warehouse or the published mart could not be opened or queried."""


class ModelRejected(AftercastError):
    """Stored parameters of a model cannot be read (an older version, missing keys); names the series and what to do."""


class RunError(AftercastError):
    """The embedded run could not finish; names the DAG, the task and its log."""


class TaskFailed(RunError):
    """A task of the embedded run failed; names it and how its log ends."""


class StoreUnavailable(AftercastError):
    """The object store that machines share could not be read or written; a retry may help."""


class StoreConflict(StoreUnavailable):
    """Another machine wrote to the object store what this one was about to; the task may be run again."""


class NotSent(SourceUnavailable):
    """What was to be sent cannot have arrived (no connection, or told to slow down); it may be sent again without asking."""


class OutboxError(AftercastError):
    """An effect cannot be sent because of what is written down about it; names its key and says what to do."""


class ReviewConflict(AftercastError):
    """A postmortem cannot be written or judged as asked: it was edited, moved on, or cannot be read; nothing was overwritten."""
