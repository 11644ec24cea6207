"""A pytest plugin for Flask's own tests: every application gets its sessions from Holdall as soon as it is made.

`run_flask.py` loads it. Applications whose class brings a session interface of its own keep that, but where such a
class is made from Flask's default one, it is made from ours. With HOLDALL_TEST_PLAIN set, Flask's sessions stay.
"""

import os
from typing import Any

import _pytest.monkeypatch
import flask.sessions
from flask import Flask
from holdall_flask import Holdall, HoldallInterface

# Flask's tests take this from pytest by a name that pytest changed in 9.1.
if not hasattr(_pytest.monkeypatch, "notset"):
    vars(_pytest.monkeypatch)["notset"] = vars(_pytest.monkeypatch)["NOTSET"]


def _with_holdall() -> None:
    make = Flask.__init__

    def init(self: Flask, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        if type(self).session_interface is Flask.session_interface:
            Holdall(self)

    Flask.__init__ = init  # type: ignore[method-assign]
    vars(flask.sessions)["SecureCookieSessionInterface"] = HoldallInterface


if "HOLDALL_TEST_PLAIN" not in os.environ:
    _with_holdall()
