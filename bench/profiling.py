"""Finds out where the cost of a request lies, place by place in the code, in the process of the contestant.

Two counts that no noise reaches, Python's instructions and its calls, and the time as Python's own profiler sees it,
which makes code of many small calls look slower than it is. All of it over the same application without sessions. How
it is shown is in `profiled`.
"""

import cProfile
import re
import sys
from collections import Counter
from collections.abc import Sequence
from types import CodeType, FrameType
from typing import Any, NamedTuple

from bench.contestants import Caller

_TRACED = 4
_PROFILED = 0.4  # seconds
_TURNS = 20
_NOISE = 0.15
"""What takes no more time than by this part of what it takes without sessions is noise."""
_OURS = ("holdall", "holdall_wsgi", "holdall_flask", "holdall_django", "holdall_asgi", "holdall_stores")
# "<method 'encrypt' of 'some.package.AESGCM' objects>", "<built-in method some.package.packb>", and what C inherited a
# Python function of that name into: "<function _Socket.recv at 0x7f00>".
_IN_C = re.compile(
    r"<(?:method '(?P<method>\w+)' of '(?:.*\.)?(?P<type>\w+)'|(?:built-in method|function) (?P<name>[\w.]+)).*>"
)


class Spent(NamedTuple):
    """What one place costs in a request; of the bare application, it was taken off."""

    instructions: float
    calls: float
    microseconds: float


def profile(request: Caller, bare: Caller, cookies: Sequence[str]) -> dict[str, Spent]:
    """Return what each place of the code costs, for each of these requests."""
    cookies = cookies[:_TRACED]
    (instructions, calls), (bare_instructions, bare_calls) = (_counted(caller, cookies) for caller in (request, bare))
    instructions.subtract(bare_instructions)
    calls.subtract(bare_calls)
    times = _timed(request, bare, cookies)
    places = sorted({*instructions, *calls, *times})
    each = len(cookies)
    return {place: Spent(instructions[place] / each, calls[place] / each, times.get(place, 0.0)) for place in places}


def _counted(caller: Caller, cookies: Sequence[str]) -> tuple["Counter[str]", "Counter[str]"]:
    """Count the instructions and calls of requests, by place."""
    instructions: Counter[str] = Counter()
    calls: Counter[str] = Counter()

    def called(frame: FrameType, event: str, _: object) -> Any:
        place = _place(frame.f_globals.get("__name__", ""))
        calls[place] += 1
        frame.f_trace_opcodes, frame.f_trace_lines = True, False

        def happened(_: FrameType, event: str, __: object) -> Any:
            if event == "opcode":
                instructions[place] += 1
            return happened

        return happened

    for _ in range(2):  # in 3.12 instructions are traced only if a frame asked for it when tracing began
        instructions.clear()
        calls.clear()
        sys.settrace(called)
        try:
            caller.spend(cookies)
        finally:
            sys.settrace(None)
    return instructions, calls


def _timed(request: Caller, bare: Caller, cookies: Sequence[str]) -> dict[str, float]:
    """Return the microseconds that a request costs more than a bare one, by place, as Python's profiler sees them."""
    profilers = [(request, cProfile.Profile()), (bare, cProfile.Profile())]
    one = request.spend(cookies)
    requests = 0
    for _ in range(_TURNS):  # in turn, so that a machine that slows down slows both
        times = max(1, int(_PROFILED / _TURNS / one))
        requests += times * len(cookies)
        for caller, profiler in profilers:
            profiler.enable()
            try:
                for _ in range(times):
                    caller.spend(cookies)
            finally:
                profiler.disable()
    names = {getattr(module, "__file__", None): name for name, module in sys.modules.copy().items()}
    spent, without = (Counter[str](), Counter[str]())
    for counter, (_, profiler) in zip((spent, without), profilers, strict=True):
        for entry in profiler.getstats():
            counter[_of_code(entry.code, names)] += entry.inlinetime * 1e6 / requests  # type: ignore[assignment]
    more = {place: float(time - without[place]) for place, time in spent.items()}
    return {place: time for place, time in more.items() if time > _NOISE * without[place]}


def _of_code(code: CodeType | str, names: dict[str | None, str]) -> str:
    if isinstance(code, CodeType):
        # What has no file was made by dataclasses, in nearly all cases.
        return _place(names.get(code.co_filename, "generated code"))
    found = _IN_C.fullmatch(code)
    if found is None:
        return f"{code}, in C"
    name = found["name"] or f"{found['type']}.{found['method']}"
    return f"{'.'.join(name.removeprefix('builtins.').split('.')[-2:])}, in C"


def _place(module: str) -> str:
    """Return where a module's costs are shown."""
    package, _, rest = module.partition(".")
    if package in ("bench", "__main__", "cProfile"):  # what calls the application costs the same without sessions
        return "the application"
    return module if package in _OURS and rest else package
