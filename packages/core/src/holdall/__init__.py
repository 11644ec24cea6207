"""Web sessions of all sizes: the sans-IO core."""

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
