"""Every error that fanns raises on purpose.

    FannsError
    ├── InputError               a vector, id, table or argument that cannot be used
    │   └── UnknownIdError       an id that the index does not hold
    ├── FilterError              a filter that cannot be evaluated
    │   ├── FilterSyntaxError    text that is not one boolean expression of the language
    │   ├── UnknownColumnError   a column that the index does not have
    │   ├── FilterTypeError      a comparison of unlike types
    │   └── ParameterError       a parameter without a value, or a value without a parameter
    ├── StorageError             an index directory that cannot be read or written
    │   ├── NotAnIndexError      the path holds something else
    │   │   └── UnfinishedIndexError  an index whose build is under way or was interrupted
    │   ├── CorruptIndexError    a file that is truncated, altered or inconsistent
    │   ├── IndexExistsError     the target of a build or export is taken
    │   └── IndexLockedError     another writer holds the index
    ├── DeviceError              a GPU that is not there, or has too little memory
    └── MissingDependencyError   an optional package that this call needs

Messages say what was expected, what came, and what to do. One warning: LostChangesWarning, where
an index opens without changes that were never made durable.
"""


class FannsError(Exception):
    """Base of all errors raised by fanns."""


class InputError(FannsError, ValueError):
    """A vector, id, table or argument that cannot be used."""


class UnknownIdError(InputError, KeyError):
    """An id that the index does not hold."""

    __str__ = Exception.__str__  # KeyError would print the repr of the message


class FilterError(FannsError, ValueError):
    """A filter that cannot be evaluated."""


class FilterSyntaxError(FilterError):
    """Text that is not one boolean expression of the filter language."""


class UnknownColumnError(FilterError):
    """A column that the index does not have."""


class FilterTypeError(FilterError):
    """A comparison of unlike types."""


class ParameterError(FilterError):
    """A parameter without a value, or a value without a parameter."""


class StorageError(FannsError, OSError):
    """An index directory that cannot be read or written."""


class NotAnIndexError(StorageError):
    """The path holds something other than a fanns index."""


class UnfinishedIndexError(NotAnIndexError):
    """An index whose build is under way, or was interrupted and can be gone on with."""


class CorruptIndexError(StorageError):
    """A file of the index is truncated, altered or inconsistent with the others."""


class IndexExistsError(StorageError):
    """The target of a build or an export is taken."""


class IndexLockedError(StorageError):
    """Another writer holds the index."""


class DeviceError(FannsError, RuntimeError):
    """A GPU that is not there, cannot be used, or has too little memory."""


class MissingDependencyError(FannsError, ImportError):
    """An optional package that this call needs is not installed."""


class LostChangesWarning(UserWarning):
    """Changes of `durability="deferred"` were not synced before the machine went or was left."""
