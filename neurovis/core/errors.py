"""The exceptions of the suite; everything else is a built-in one."""


class DataCorruptError(OSError):
    """A file exists but its content is not what it must be."""


class MissingDependencyError(ImportError):
    """An optional package is needed for what was asked."""


class NotReproducibleWarning(UserWarning):
    """The result can differ between two runs with the same arguments."""
