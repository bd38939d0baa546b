"""From slides to arrays, and from arrays to outlines."""

import logging

# Remarks of tifffile on a damaged file go to the logs of jobs only (`workflow.job_log`): on a
# terminal, the message of this program with file and remedy is enough.
_TIFFFILE_LOG = logging.getLogger("tifffile")
_TIFFFILE_LOG.addHandler(logging.NullHandler())
_TIFFFILE_LOG.propagate = False
