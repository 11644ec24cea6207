"""Web sessions of all sizes: the sans-IO core.

A `SessionManager` turns the Cookie headers of a request into a `Session`, a mapping that the application changes as it
likes, and what was changed into the Set-Cookie headers of the response. A small session rides in one encrypted cookie;
a bigger one goes to the stores, and nothing but `Get`, `Put` and `Delete` is ever asked of them. The core does no
I/O: its flows yield commands, and `run` or `arun` has them carried out.
"""

from holdall.codec import decode as decode
from holdall.codec import register_type as register_type
from holdall.codec import unpack_map as unpack_map
from holdall.commands import Answer as Answer
from holdall.commands import Command as Command
from holdall.commands import Conflict as Conflict
from holdall.commands import Delete as Delete
from holdall.commands import Deleted as Deleted
from holdall.commands import Expect as Expect
from holdall.commands import Found as Found
from holdall.commands import Get as Get
from holdall.commands import Missing as Missing
from holdall.commands import Put as Put
from holdall.commands import Stored as Stored
from holdall.commands import Tier as Tier
from holdall.cookie_options import CookieOptions as CookieOptions
from holdall.cookies import find_values as find_values
from holdall.current import current_session as current_session
from holdall.current import get_current_session as get_current_session
from holdall.current import set_current_session as set_current_session
from holdall.drive import AsyncStoresLike as AsyncStoresLike
from holdall.drive import Finished as Finished
from holdall.drive import Flow as Flow
from holdall.drive import StoresLike as StoresLike
from holdall.drive import arun as arun
from holdall.drive import run as run
from holdall.errors import HoldallError as HoldallError
from holdall.errors import SessionCommitted as SessionCommitted
from holdall.errors import SessionConflict as SessionConflict
from holdall.errors import SessionNotLoaded as SessionNotLoaded
from holdall.errors import SessionTooLarge as SessionTooLarge
from holdall.errors import SessionUnavailable as SessionUnavailable
from holdall.errors import StoreError as StoreError
from holdall.errors import StoreTooLarge as StoreTooLarge
from holdall.errors import StoreUnavailable as StoreUnavailable
from holdall.errors import UsageError as UsageError
from holdall.events import Event as Event
from holdall.events import log_event as log_event
from holdall.exchange import Exchange as Exchange
from holdall.exchange import Receipt as Receipt
from holdall.manager import SessionManager as SessionManager
from holdall.moving import MovingIn as MovingIn
from holdall.moving import OldSession as OldSession
from holdall.moving import pack_values as pack_values
from holdall.presented import Inspected as Inspected
from holdall.principals import BoundSession as BoundSession
from holdall.sealing import generate_key as generate_key
from holdall.sealing import stretch_key as stretch_key
from holdall.session import Session as Session
from holdall.settings import ManagerOptions as ManagerOptions
