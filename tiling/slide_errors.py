"""Errors of the slide side: each message says what is wrong, where, and what to do."""


class SlideError(ValueError):
    """A slide that cannot be used as it is (unreadable, no pixel size, not brightfield RGB): costs this slide only."""


class AnnotationError(ValueError):
    """An annotation file that cannot be read as truth: costs this slide only."""


class StoreError(RuntimeError):
    """A store that is locked, foreign or damaged: fails the job, not the slide."""
