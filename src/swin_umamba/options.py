"""Options declared once: a field of a dataclass makes keyword, flag, variable and documentation.

``option`` declares the field, ``Options`` is the base of the dataclasses, and ``options_as_keywords`` lets a
function take their fields as keywords, typed. ``cli.options.add_options`` makes the flags.
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

PRECISIONS = ("float32", "bfloat16", "float16")
"""Of matrix products and convolutions; scans keep their states in float32 in any case."""
Nonfinite = Literal["refuse", "zero"]
"""What to do about NaN and infinite voxels: refuse the image, or take them for zero."""
_KEY, _GIVEN = "option", "_given"

P = ParamSpec("P")
O_co = TypeVar("O_co", covariant=True)
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
R = TypeVar("R")


@dataclass(frozen=True)
class Option:
    """What is known of an option beside its name, type and default.

    Attributes
    ----------
    name, type, default
        Name, type without ``None``, and default of the field.
    help
        What it does, in words that suit the command line and the documentation.
    flags
        On the command line; by default ``--name-of-the-field``, and none if empty.
    metavar
        How the command line calls its value.
    choices
        The values that there are; any of the type if empty.
    parse
        Makes a value from text; by default the type does.
    in_environment
        Whether a variable sets it where there is no command line of ours.
    may_change
        Whether a continued run may take another value; with any other option it would be another run.
    ours_only
        Whether only the trainers of Swin-UMamba heed it; nnU-Net's own trainer then refuses it.
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
        """Return the value that a text stands for; raise ``ValueError`` if it stands for none."""
        if self.type is bool:
            return text.lower() in ("1", "true", "yes")
        return (self.parse or self.type)(text)

    @property
    def stored_as(self) -> ValueRule:
        """What a stored value has to be; ranges are for the dataclass."""
        rule = rule_of(self.type)
        return optional(rule) if self.default is None else rule


def option(default: Any, help: str, **more: Any) -> Any:
    """Return the field of an option; ``more`` are further attributes of ``Option``."""
    return field(default=default, metadata={_KEY: {"help": help, **more}})


def declared_options(options_class: Any) -> tuple[Option, ...]:
    """Return the options of a dataclass, in their order."""
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
        """The fields that the caller of ``from_keywords`` named, with their values."""
        given: Mapping[str, Any] = self.__dict__.get(_GIVEN, {})
        return given

    @classmethod
    def from_keywords(cls, **given: Any) -> Self:
        """Return the options, and remember which of them were given."""
        options = cls(**given)
        object.__setattr__(options, _GIVEN, given)
        return options

    @classmethod
    def from_stored(cls, stored: Mapping[str, Any]) -> Self:
        """Return the options that ``as_dict`` has stored, ignoring fields of other versions.

        Raises
        ------
        UsageError
            If one has a value of another type, or that no option has.
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
        """Return those of other options that these have, too."""
        return cls(**{each.name: getattr(options, each.name) for each in declared_options(cls)})

    def as_dict(self) -> dict[str, Any]:
        """Return the options as plain values that JSON and a safe checkpoint can hold."""
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
        """Raise ``UsageError`` for the first of the named options that is given and not as it should be."""
        for name in names:
            value = getattr(self, name)
            if value is not None and not holds(value):
                raise UsageError(f"{name} is {value}", hint=hint)


class _TakesOptions(Protocol[P, O_co]):
    """Makes a function of one to three positional arguments and options into one of keywords."""

    @overload
    def __call__(self, function: Callable[[A, O_co], R], /) -> Callable[Concatenate[A, P], R]: ...

    @overload
    def __call__(self, function: Callable[[A, B, O_co], R], /) -> Callable[Concatenate[A, B, P], R]: ...

    @overload
    def __call__(self, function: Callable[[A, B, C, O_co], R], /) -> Callable[Concatenate[A, B, C, P], R]: ...


def options_as_keywords(options_class: Callable[P, O_co]) -> _TakesOptions[P, O_co]:
    """Return a decorator: the last argument, an object of ``options_class``, is given as keywords instead.

    Type checkers know the keywords, their types and defaults from the fields of the dataclass.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        @functools.wraps(function)
        def with_keywords(*arguments: Any, **given: Any) -> Any:
            return function(*arguments, options_class.from_keywords(**given))  # type: ignore[attr-defined]

        with_keywords.__signature__ = _signature(function, options_class)  # type: ignore[attr-defined]
        return with_keywords

    return decorate


def _signature(function: Callable[..., Any], options_class: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of a function whose last argument is given as keywords, for ``help``."""
    first = list(inspect.signature(function).parameters.values())[:-1]
    keywords = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for each in inspect.signature(options_class).parameters.values()
    ]
    return inspect.Signature([*first, *keywords])


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in (types.UnionType, Union):
        kinds = [each for each in get_args(hint) if each is not types.NoneType]
        return kinds[0] if len(kinds) == 1 else Union[tuple(kinds)]  # noqa: UP007  made at run time
    return hint
