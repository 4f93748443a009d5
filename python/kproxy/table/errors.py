# SPDX-License-Identifier: Apache-2.0
"""The error tree.

::

    KproxyError                 carries one sentence that names the thing and the mend
      ConfigError               flags or configuration file: the process must not start
      ObjectError               an API object or manifest that cannot be read: kept out, the others go on
      SourceError               the API server or a file cannot be reached: retried
        Expired                 the server has forgotten our resourceVersion: list again
        Unauthorized            the credentials are refused: read anew, retried slowly
        Stalled                 the server has said nothing for too long: connect again
      KernelError               the kernel or one of its tools said no
        Unsupported             the kernel or a tool lacks what the mode needs: another mode, or an upgrade
        PermissionDenied        capabilities are missing
        Busy                    somebody else holds a lock or changed things meanwhile: try again at once

``retry`` tells the loop whether the same thing may work later.
"""


class KproxyError(Exception):
    """The root: ``str()`` is one sentence for a person."""

    retry = False


class ConfigError(KproxyError):
    """Flags or configuration that cannot be used."""


class ObjectError(KproxyError):
    """An API object or manifest that cannot be used."""


class SourceError(KproxyError):
    """A source cannot be read now.

    ``status`` is the HTTP status of the answer, 0 where there was none; ``retry_after`` is how many seconds the server
    wants us to wait.
    """

    retry = True

    def __init__(self, message: str, *, status: int = 0, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class Expired(SourceError):  # noqa: N818 - the API's own word for HTTP 410
    """The server no longer knows the resourceVersion we asked to resume from."""


class Unauthorized(SourceError):  # noqa: N818 - the API's own word for HTTP 401 and 403
    """The server refuses the credentials, or the permissions are missing."""


class Stalled(SourceError):  # noqa: N818 - reads as what it says
    """The server has said nothing for longer than it may."""


class KernelError(KproxyError):
    """The kernel, or a tool that speaks to it, refused."""

    retry = True


class Unsupported(KernelError):  # noqa: N818 - reads as what it says
    """This kernel or tool cannot do what the mode needs."""

    retry = False


class PermissionDenied(KernelError):  # noqa: N818
    """The process lacks a capability."""

    retry = False


class Busy(KernelError):  # noqa: N818
    """A lock is held or a generation changed: the same thing may work at once."""
