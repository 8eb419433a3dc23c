"""The one registry: from a class to the rule which knows how to treat it.

Neuron types, Nengo operators and Keras layers are all looked up here. A class
without a rule of its own takes that of its nearest registered ancestor, as long
as nothing in between redefines a governing method: a subclass with new physics
is refused by name, and never runs silently with its parent's.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

__all__ = ["Registry"]

R = TypeVar("R")


def _name(klass: type) -> str:
    return f"{klass.__module__}.{klass.__qualname__}"


class Registry(Generic[R]):
    """Rules by class, found along the method resolution order.

    Args:
        kind: what the rules are about, for the error messages; for example
            `"neuron type"`.
        governing: names of the methods that make a class behave as it does; for
            example `("step",)`. A class which redefines one of them does not
            take its parent's rule.

    Raises:
        TypeError: if `governing` is one string instead of several names.

    Example:
        >>> rules = Registry("neuron type", governing=("step",))
        >>> class Lif:
        ...     def step(self): ...
        >>> @rules.register(Lif)
        ... def step_lif(): ...
        >>> class Slow(Lif):
        ...     tau = 0.1
        >>> rules[Slow()] is step_lif
        True
    """

    def __init__(self, kind: str, governing: Iterable[str]) -> None:
        if isinstance(governing, str):
            raise TypeError(
                f"governing: received the string {governing!r}; "
                f"pass a tuple of method names, such as ({governing!r},)."
            )
        self.kind = kind
        self.governing = tuple(governing)
        self._rules: dict[type, R] = {}

    def register(self, *classes: type) -> Callable[[R], R]:
        """Decorator that adds what it decorates as the rule of `classes`.

        Returns:
            A function which returns its argument, a function, class or object.

        Raises:
            TypeError: if `classes` is empty or holds something else than classes.
            ValueError: if one of them has a rule already.
        """

        def keep(rule: R) -> R:
            self.add(rule, *classes)
            return rule

        return keep

    def add(self, rule: R, *classes: type) -> None:
        """Make `rule` the rule of `classes`; raises as `register` does."""
        if not classes or not all(isinstance(klass, type) for klass in classes):
            raise TypeError(
                f"A {self.kind} rule is added for one or more classes; "
                f"received {classes!r}. Name the classes as arguments."
            )
        # All are checked before any is added: a refused call changes nothing.
        for position, klass in enumerate(classes):
            if klass in self._rules or klass in classes[:position]:
                raise ValueError(
                    f"{_name(klass)} has a {self.kind} rule already. Known: "
                    f"{self._known()}. Register a subclass, or remove one of the two."
                )
        self._rules.update(dict.fromkeys(classes, rule))

    def find(self, thing: Any) -> R:
        """The rule of an object or a class.

        Args:
            thing: an instance, or the class itself.

        Raises:
            NotImplementedError: if no ancestor is registered, or a class nearer
                than the first registered one redefines a governing method.
        """
        klass, ancestor, redefined = self._climb(thing)
        if ancestor is not None and not redefined:
            return self._rules[ancestor]
        why = (
            f" {redefined}, so the rule of {_name(ancestor)} does not hold for it."
            if ancestor is not None
            else ""
        )
        raise NotImplementedError(
            f"No {self.kind} rule for {_name(klass)}.{why} Known: {self._known()}. "
            f"Use one of these, or register a rule for {_name(klass)}."
        )

    def __getitem__(self, thing: Any) -> R:
        return self.find(thing)

    def get(self, thing: Any, default: R) -> R:
        """The rule of an object or a class, or `default` where `find` would raise."""
        return self.find(thing) if thing in self else default

    def __contains__(self, thing: object) -> bool:
        _, ancestor, redefined = self._climb(thing)
        return ancestor is not None and not redefined

    def __iter__(self) -> Iterator[type]:
        return iter(tuple(self._rules))

    def __len__(self) -> int:
        return len(self._rules)

    def names(self) -> list[str]:
        """Qualified names of the registered classes, sorted."""
        return sorted(map(_name, self._rules))

    def _climb(self, thing: object) -> tuple[type, type | None, str]:
        """The class, its first registered ancestor, and who redefines what before."""
        klass = thing if isinstance(thing, type) else type(thing)
        redefined = ""
        for base in type.mro(klass):
            if base in self._rules:
                return klass, base, redefined
            methods = [name for name in self.governing if name in vars(base)]
            # `redefined` keeps the nearest: that is the class the user wrote.
            if methods and not redefined:
                redefined = f"{_name(base)} redefines {', '.join(methods)}"
        return klass, None, redefined

    def _known(self) -> str:
        return ", ".join(self.names()) or "none"
