# SPDX-License-Identifier: Apache-2.0
"""The errors of the testbed. Their text is a sentence for a person."""


class GuestError(Exception):
    """Something of the testbed, its host or its guest failed."""


class GuestTimeout(GuestError):
    """A time limit passed; the guest has been killed."""


class CacheError(GuestError):
    """The cache could not be filled; what it held before is still good."""


def progress(text):
    """One line of progress, on standard error."""
    import sys
    print(f"testbed: {text}", file=sys.stderr, flush=True)
