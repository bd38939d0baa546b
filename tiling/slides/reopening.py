"""Reads from a file, and opens it again once when a read fails.

After its first error, a handle of OpenSlide refuses all further reads.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tiling.raster.geometry import Window
from tiling.slides.backend import Backend, FileDescription, Rgb
from tiling.slides.read_errors import FileReadError

log = logging.getLogger(__name__)


class ReopeningBackend:
    """A backend that opens its file again when a read fails; several threads may read from it.

    Parameters
    ----------
    path : file to read
    open_backend : opens it
    name : name of the slide in log messages
    """

    def __init__(self, path: Path, open_backend: Callable[[Path], Backend], *, name: str) -> None:
        self._path = path
        self._name = name
        self._open_backend = open_backend
        self._backend = open_backend(path)
        self._lock = threading.Lock()
        self._readers: Counter[Backend] = Counter()  # number of threads that read from it now

    def describe(self) -> FileDescription:
        """See Backend."""
        return self._backend.describe()

    def read(self, level: int, window: Window) -> Rgb:
        """See Backend; an error is raised only when the second attempt fails too."""
        with self._current_backend() as backend:
            try:
                return backend.read(level, window)
            except FileReadError as error:
                log.warning(
                    "%s: level %d, y %d, x %d: %s; the file is opened again for a second attempt",
                    self._name,
                    level,
                    window.y,
                    window.x,
                    error,
                )
        with self._current_backend(failed=backend) as reopened:
            return reopened.read(level, window)

    @contextmanager
    def _current_backend(self, *, failed: Backend | None = None) -> Iterator[Backend]:
        """The open backend; opened again if it is still the one that failed.

        Other threads may still read from the failed one. The last of them closes it.
        """
        with self._lock:
            if self._backend is failed:
                # OSError if the mount or the file is lost: the job fails, not the slide.
                with self._path.open("rb"):
                    self._backend = self._open_backend(self._path)
                self._close_if_unused(failed)
            backend = self._backend
            self._readers[backend] += 1
        try:
            yield backend
        finally:
            with self._lock:
                self._readers[backend] -= 1
                self._close_if_unused(backend)

    def _close_if_unused(self, backend: Backend) -> None:
        if backend is not self._backend and not self._readers[backend]:
            del self._readers[backend]
            backend.close()

    def associated(self, name: str) -> Rgb:
        """See Backend."""
        with self._current_backend() as backend:
            return backend.associated(name)

    def close(self) -> None:
        """See Backend."""
        self._backend.close()
