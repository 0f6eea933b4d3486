"""A part of an object that is made when it is first asked for, once, whichever thread asks.

`functools.cached_property` of Python 3.12 and later has no lock: several threads would each make
the part (an index of gigabytes, read and checked), and each might go on with another one.
"""

from __future__ import annotations

from functools import cached_property
from threading import RLock
from typing import Any, Self, TypeVar, overload

T = TypeVar("T")
LOCK = "_once"


class once(cached_property[T]):
    """A cached property under a lock of its object: others wait for the one that makes it.

    A part that is there is found as an attribute of the object, without this class.
    """

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> T: ...
    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        if instance is None:
            return self
        held, name = instance.__dict__, self.attrname
        with held.setdefault(LOCK, RLock()):  # parts are made of other parts of the object
            if name not in held:
                held[name] = self.func(instance)
            return held[name]
