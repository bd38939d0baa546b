"""Errors of slides, annotations and stores.

Each message states what is wrong, where, and what to do.
"""


class SlideError(ValueError):
    """A slide cannot be used: unreadable, no pixel size, not 8-bit RGB. Only this slide fails."""


class FailedSlideError(SlideError):
    """The tiles of a slide could not be made before; the message is the recorded error."""


class AnnotationError(ValueError):
    """An annotation file cannot be used. Only this slide fails."""


class StoreError(RuntimeError):
    """A store is locked, damaged, or not one of this pipeline. The job fails, not the slide."""
