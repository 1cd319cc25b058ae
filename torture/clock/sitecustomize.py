"""Python imports this at its start, when its folder is in PYTHONPATH: a clock that is wrong, in this process alone.

`TORTURE_CLOCK` holds after how many seconds, and by how many, or `1970`. What Python itself is asked for is changed
(`time`, `datetime`); timestamps of files are the kernel's.
"""

import datetime
import os
import time

_after, _offset = os.environ["TORTURE_CLOCK"].split()
_now, _now_ns, _local, _gm = time.time, time.time_ns, time.localtime, time.gmtime
_start = time.monotonic()
_seconds = -_now() if _offset == "1970" else float(_offset)


def _shift() -> float:
    return _seconds if time.monotonic() - _start >= float(_after) else 0.0


class _Datetime(datetime.datetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> "_Datetime":
        return cls.fromtimestamp(time.time(), tz)

    @classmethod
    def today(cls) -> "_Datetime":
        return cls.fromtimestamp(time.time())

    @classmethod
    def utcnow(cls) -> "_Datetime":
        return cls.fromtimestamp(time.time(), datetime.UTC).replace(tzinfo=None)


time.time = lambda: _now() + _shift()
time.time_ns = lambda: _now_ns() + int(_shift() * 1e9)
time.localtime = lambda seconds=None: _local(time.time() if seconds is None else seconds)
time.gmtime = lambda seconds=None: _gm(time.time() if seconds is None else seconds)
datetime.datetime = _Datetime  # type: ignore[misc]
