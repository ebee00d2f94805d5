"""Options declared once: a dataclass field provides keyword, flag, variable and documentation.

``option`` declares the field, ``Options`` is the base of the dataclasses, and ``options_as_keywords`` lets a
function take their fields as typed keywords. ``cli.options.add_options`` makes the flags.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Literal,
    ParamSpec,
    Protocol,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

from swin_umamba.errors import UsageError
from swin_umamba.schema import Provenance, ValueRule, optional, rule_of, table

if TYPE_CHECKING:
    from typing_extensions import Self

PRECISIONS = ("float32", "tf32", "bfloat16", "float16")
"""Precisions of matrix products and convolutions; scans always keep their states in float32.

With ``tf32`` they round their operands to 10 bits after the point, in the tensor cores of CUDA devices.
"""
Nonfinite = Literal["refuse", "zero"]
"""Treatment of NaN and infinite voxels: refuse the image, or replace them with zero."""
_KEY, _GIVEN = "option", "_given"

P = ParamSpec("P")
O_co = TypeVar("O_co", covariant=True)
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
R = TypeVar("R")


@dataclass(frozen=True)
class Option:
    """An option: its name, type and default, and everything else known of it.

    Attributes
    ----------
    name, type, default
        Name, type without ``None``, and default of the field.
    help
        Description that suits both the command line and the documentation.
    flags
        Flags on the command line; by default ``--name-of-the-field``, and none if empty.
    metavar
        Name of its value on the command line.
    choices
        Allowed values; any of the type if empty.
    parse
        Function that makes a value from text; by default the type.
    in_environment
        Whether a variable sets it where our command line is not in use.
    may_change
        Whether a continued run may change it; changing any other option would make it a different run.
    ours_only
        Whether only Swin-UMamba's trainers support it; nnU-Net's own trainer then refuses it.
    """

    name: str
    type: Any
    default: Any
    help: str
    flags: tuple[str, ...]
    metavar: str | tuple[str, ...] | None = None
    choices: tuple[str, ...] = ()
    parse: Callable[[str], Any] | None = None
    in_environment: bool = False
    may_change: bool = False
    ours_only: bool = False

    def from_text(self, text: str) -> Any:
        """Return the value of a text; raise ``ValueError`` if it has none."""
        if self.type is bool:
            return text.lower() in ("1", "true", "yes")
        return (self.parse or self.type)(text)

    @property
    def stored_as(self) -> ValueRule:
        """Rule for a stored value; the dataclass checks ranges."""
        rule = rule_of(self.type)
        return optional(rule) if self.default is None else rule


def option(default: Any, help: str, **more: Any) -> Any:
    """Return the dataclass field of an option; ``more`` are further attributes of ``Option``."""
    return field(default=default, metadata={_KEY: {"help": help, **more}})


def declared_options(options_class: Any) -> tuple[Option, ...]:
    """Return the options of a dataclass, in order."""
    hints = get_type_hints(options_class)
    declared = []
    for each in fields(options_class):
        more = dict(each.metadata[_KEY])
        more.setdefault("flags", (f"--{each.name.replace('_', '-')}",))
        declared.append(Option(each.name, _without_none(hints[each.name]), each.default, **more))
    return tuple(declared)


def stored_rule(options_class: Any) -> ValueRule:
    """Return the rule for the stored options of a dataclass."""
    return table({}, {each.name: each.stored_as for each in declared_options(options_class)})


@dataclass(frozen=True)
class Options:
    """Base of dataclasses of options."""

    @property
    def given(self) -> Mapping[str, Any]:
        """Fields named by the caller of ``from_keywords``, with their values."""
        given: Mapping[str, Any] = self.__dict__.get(_GIVEN, {})
        return given

    @classmethod
    def from_keywords(cls, **given: Any) -> Self:
        """Return the options, remembering which were given."""
        options = cls(**given)
        object.__setattr__(options, _GIVEN, given)
        return options

    @classmethod
    def from_stored(cls, stored: Mapping[str, Any]) -> Self:
        """Return the options stored by ``as_dict``, ignoring fields of other versions.

        Raises
        ------
        UsageError
            If a value has another type, or is not allowed for its option.
        """
        declared = {each.name: each for each in declared_options(cls)}
        Provenance("the stored options of the run", "start again", UsageError).check(stored, stored_rule(cls))
        values = {name: value for name, value in stored.items() if name in declared}
        for name, value in values.items():
            if get_origin(declared[name].type) is tuple and value is not None:
                values[name] = tuple(value)
        return cls(**values)

    @classmethod
    def of(cls, options: Options) -> Self:
        """Return the fields of this class with their values in other options."""
        return cls(**{each.name: getattr(options, each.name) for each in declared_options(cls)})

    def as_dict(self) -> dict[str, Any]:
        """Return the options as plain values for JSON and safe checkpoints."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }

    def continued_with(self, given: Mapping[str, Any]) -> Self:
        """Return these stored options with those of ``given`` that may change when a run is continued.

        Raises
        ------
        UsageError
            If ``given`` contradicts a stored option that may not change.
        """
        changeable = [each.name for each in declared_options(type(self)) if each.may_change]
        contradictions = [
            f"{name} is {value!r} but the run was started with {getattr(self, name)!r}"
            for name, value in given.items()
            if name not in changeable and value != getattr(self, name)
        ]
        if contradictions:
            raise UsageError(
                "a run continues with the options that it was started with: " + "; ".join(contradictions),
                hint="leave these options out, or start again with --overwrite; what may change is: "
                + ", ".join(changeable),
            )
        return replace(self, **{name: given[name] for name in changeable if name in given})

    def _check_numbers(self, names: Sequence[str], holds: Callable[[Any], bool], hint: str) -> None:
        """Raise ``UsageError`` for the first of the named options that is given and invalid."""
        for name in names:
            value = getattr(self, name)
            if value is not None and not holds(value):
                raise UsageError(f"{name} is {value}", hint=hint)


class _TakesOptions(Protocol[P, O_co]):
    """Turns a function of one to three positional arguments and options into one with keywords."""

    @overload
    def __call__(self, function: Callable[[A, O_co], R], /) -> Callable[Concatenate[A, P], R]: ...

    @overload
    def __call__(self, function: Callable[[A, B, O_co], R], /) -> Callable[Concatenate[A, B, P], R]: ...

    @overload
    def __call__(self, function: Callable[[A, B, C, O_co], R], /) -> Callable[Concatenate[A, B, C, P], R]: ...


def options_as_keywords(options_class: Callable[P, O_co]) -> _TakesOptions[P, O_co]:
    """Return a decorator that replaces the last argument, an object of ``options_class``, with keywords.

    Type checkers take the keywords, their types and defaults from the fields of the dataclass.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        @functools.wraps(function)
        def with_keywords(*arguments: Any, **given: Any) -> Any:
            return function(*arguments, options_class.from_keywords(**given))  # type: ignore[attr-defined]

        with_keywords.__signature__ = _signature(function, options_class)  # type: ignore[attr-defined]
        return with_keywords

    return decorate


def _signature(function: Callable[..., Any], options_class: Callable[..., Any]) -> inspect.Signature:
    """Return the signature, for ``help``, of a function whose last argument is given as keywords."""
    first = list(inspect.signature(function).parameters.values())[:-1]
    keywords = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for each in inspect.signature(options_class).parameters.values()
    ]
    return inspect.Signature([*first, *keywords])


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in (types.UnionType, Union):
        kinds = [each for each in get_args(hint) if each is not types.NoneType]
        return kinds[0] if len(kinds) == 1 else Union[tuple(kinds)]  # noqa: UP007  built at run time
    return hint
