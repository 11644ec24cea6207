"""The command `holdall`, and its sweep as a handler for cron services.

application = WSGISweeper(stores, secret=SECRET)
"""

from holdall_cli.cron import ASGISweeper as ASGISweeper
from holdall_cli.cron import WSGISweeper as WSGISweeper
