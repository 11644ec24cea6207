"""The defects that `hatch run planted` plants, at least one for every line of docs/requirements.md.

Each says what is wrong in a few words, which test must fail of it, and what is to be replaced in which module. What is
replaced must be in the module exactly once: keep it short.
"""

from pathlib import Path
from typing import NamedTuple


class DefectError(Exception):
    """A defect does not fit the code any more."""


class Edit(NamedTuple):
    """What is replaced in a module, such as "holdall/token.py"."""

    module: str
    before: str
    after: str


class Defect(NamedTuple):
    """Something that must not be, and the test that finds it."""

    line: int
    words: str
    test: str
    """As pytest names it, below tests/."""
    edits: tuple[Edit, ...]

    def planted(self, root: Path) -> dict[str, str]:
        """Return the files of a tree with the defect in them, by their path in it."""
        files: dict[str, str] = {}
        for module, before, after in self.edits:
            (path,) = root.glob(f"packages/*/src/{module}")
            file = path.relative_to(root).as_posix()
            source = files.get(file) or path.read_text(encoding="utf-8")
            if source.count(before) != 1:
                raise DefectError(f"{module} has {source.count(before)} times {before!r}")
            files[file] = source.replace(before, after)
        return files


def _defect(line: int, words: str, test: str, *edits: tuple[str, str, str]) -> Defect:
    return Defect(line, words, test, tuple(Edit(*edit) for edit in edits))


COOKIES, CURRENT = "holdall/cookies.py", "holdall/current.py"
EXCHANGE, HEADERS, MANAGER = "holdall/exchange.py", "holdall/headers.py", "holdall/manager.py"
OPTIONS, PRESENTED, PRINCIPALS = "holdall/cookie_options.py", "holdall/presented.py", "holdall/principals.py"
RECORD, SEALING, SESSION = "holdall/record.py", "holdall/sealing.py", "holdall/session.py"
TIERS, TOKEN, MOVING = "holdall/tiers.py", "holdall/token.py", "holdall/moving.py"
ASGI = "holdall_asgi/middleware.py"
BREAKER, DATASTORE, MEMCACHED = (
    "holdall_stores/breaker.py",
    "holdall_stores/datastore.py",
    "holdall_stores/memcached.py",
)
EXPTIME = "holdall_stores/exptime.py"
PARTS, POOL, STORES = "holdall_stores/parts.py", "holdall_stores/pool.py", "holdall_stores/stores.py"
WSGI = "holdall_wsgi/middleware.py"
FLASK, DJANGO = "holdall_flask/settings.py", "holdall_django/conf.py"
GAE_SESSIONS, OLD_FLASK = "holdall_stores/gae_sessions.py", "holdall_flask/moving.py"

# Edits that more than one line has a test for.
_IGNORED_IS_DELETED = (
    EXCHANGE,
    "        if presented.expired and session._active_token() is None:\n            return self._delete(both=False)",
    "        if presented.ignored and session._active_token() is None:\n            return self._delete(both=True)",
)
_UNCONDITIONAL = (
    TIERS,
    "self._records.seal(plain, key.encode(), now / 1000), expires, expect)",
    "self._records.seal(plain, key.encode(), now / 1000), expires, Expect.ANYTHING)",
)
_OWN_LIST = (
    (
        HEADERS,
        "    return [*headers, _VARY, _CACHE_CONTROL, *cookies]",
        "    headers += [_VARY, _CACHE_CONTROL, *cookies]\n    return headers",
    ),
    (HEADERS, "if name.lower() in _MERGED:", "if False:"),
)
_NO_FLOOR = (TIERS, "            and entry.stored.revision >= floor", "")

DEFECTS = [
    # -- ids, tokens, keys -------------------------------------------------------------------------------------------
    _defect(
        1,
        "ids begin with the time",
        "core/test_requirements.py::test_ids_are_random_and_nothing_else",
        (MANAGER, "Token(self._random(32), issued", "Token(issued.to_bytes(8) + self._random(24), issued"),
    ),
    _defect(
        1,
        "ids are 8 random bytes, repeated",
        "core/test_requirements.py::test_ids_are_random_and_nothing_else",
        (MANAGER, "Token(self._random(32), issued", "Token(self._random(8) * 4, issued"),
    ),
    _defect(
        1,
        "the random source is not the system's",
        "core/test_requirements.py::test_ids_are_random_and_nothing_else",
        (MANAGER, "[int], bytes] = os.urandom", '[int], bytes] = __import__("random").randbytes'),
    ),
    _defect(
        2,
        "the nonce holds the time",
        "core/test_requirements.py::test_a_cookie_shows_only_its_length",
        (SEALING, "nonce = self._random(12)", "nonce = int(now).to_bytes(8) + self._random(4)"),
    ),
    _defect(
        3,
        "a cookie is decoded before it is authenticated",
        "core/test_requirements.py::test_nothing_is_decoded_before_it_is_authenticated",
        (
            PRESENTED,
            "        plain = None if sealed is None else self._box.open(sealed, context)\n",
            '        with __import__("contextlib").suppress(ValueError):\n'
            '            __import__("holdall.codec").codec.unpackb(sealed or b"")\n'
            "        plain = None if sealed is None else self._box.open(sealed, context)\n",
        ),
    ),
    _defect(
        3,
        "what does not authenticate counts as empty",
        "core/test_sealing.py::TestSealing::test_any_mutation_is_junk",
        (
            SEALING,
            "        except InvalidTag:\n            return None",
            '        except InvalidTag:\n            return b""',
        ),
    ),
    _defect(
        4,
        "any version byte will do",
        "core/test_sealing.py::TestSealing::test_every_version_but_one_is_refused",
        (SEALING, "self._keys.get(prefix[:_HEAD])", "self._keys.get(_VERSION + prefix[1:_HEAD])"),
    ),
    _defect(
        4,
        "a token of an unknown version is deleted",
        "core/test_requirements.py::test_every_bad_token_looks_the_same",
        _IGNORED_IS_DELETED,
    ),
    _defect(
        5,
        "cookies are not bound to the audience",
        "core/test_presented.py::test_token_of_another_is_junk",
        (MANAGER, 'f"cookie/{settings.audience}"', '"cookie"'),
    ),
    _defect(
        5,
        "cookies are not bound to their name",
        "core/test_presented.py::test_inline_and_reference_are_not_each_other",
        (PRESENTED, 'f"{self.name}/{pieces}".encode()', 'f"{pieces}".encode()'),
    ),
    _defect(
        5,
        "all purposes have the same key and label",
        "core/test_sealing.py::TestSealing::test_bound_to_purpose_and_context",
        (SEALING, "label = len(name).to_bytes(4) + name", 'label = b""'),
        (SEALING, "XAES256GCM(_sub_key(secret, purpose, 32))", 'XAES256GCM(_sub_key(secret, "any", 32))'),
    ),
    _defect(
        6,
        "16 bytes are a key",
        "core/test_sealing.py::TestKeys::test_refused",
        (SEALING, "_KEY_BYTES = 32", "_KEY_BYTES = 16"),
    ),
    _defect(
        6,
        "a placeholder is a key",
        "core/test_sealing.py::TestKeys::test_refused",
        (SEALING, "any(placeholder in letters for placeholder in _PLACEHOLDERS)", "False"),
    ),
    _defect(
        6,
        "a str is a list of letters",
        "core/test_sealing.py::TestKeys::test_accepted",
        (SEALING, "if isinstance(cookie_key, (str, bytes)):", "if isinstance(cookie_key, bytes):"),
    ),
    _defect(
        6,
        "Flask's fallback keys are letters",
        "flask/test_settings.py::TestKeys::test_fallbacks_are_no_letters",
        (FLASK, "if isinstance(fallbacks, (str, bytes)):", "if isinstance(fallbacks, bytes):"),
    ),
    _defect(
        6,
        "the last key seals",
        "core/test_requirements.py::test_a_cookie_of_an_old_key_is_sealed_anew_at_the_next_write",
        (SEALING, "self._head = next(iter(self._keys))", "self._head = next(reversed(self._keys))"),
    ),
    _defect(
        6,
        "only the first key opens",
        "core/test_presented.py::test_key_rotation",
        (
            SEALING,
            "self._keys.get(prefix[:_HEAD])",
            "self._keys.get(prefix[:_HEAD] if prefix[:_HEAD] == self._head else b'')",
        ),
    ),
    _defect(
        6,
        "only the first key opens, in two processes",
        "wsgi/test_servers.py::TestKeys::test_half_rolled_out",
        (
            SEALING,
            "self._keys.get(prefix[:_HEAD])",
            "self._keys.get(prefix[:_HEAD] if prefix[:_HEAD] == self._head else b'')",
        ),
    ),
    _defect(
        6,
        "Flask's short SECRET_KEY works in production",
        "flask/test_settings.py::TestKeys::test_short_key_is_refused",
        (FLASK, "if not (app.testing or app.debug):", "if False:"),
    ),
    _defect(
        6,
        "nobody is warned of Flask's short SECRET_KEY",
        "flask/test_settings.py::TestKeys::test_short_key_is_warned_about",
        (FLASK, 'log.warning("%s: outside testing', 'log.debug("%s: outside testing'),
    ),
    _defect(
        6,
        "Django's weak SECRET_KEY works in production",
        "django/test_conf.py::test_weak_secret_key_is_refused",
        (DJANGO, "if given is not None or not lenient or not key:", "if given is not None or not key:"),
    ),
    _defect(
        7,
        "what is no base64 is an error",
        "core/test_requirements.py::test_every_bad_token_looks_the_same",
        (COOKIES, "    except ValueError:\n        return None", "    except ValueError:\n        raise"),
    ),
    _defect(
        7,
        "bad tokens are deleted",
        "wsgi/test_conformance.py::TestWSGI::test_bad_cookies_are_no_session",
        _IGNORED_IS_DELETED,
    ),
    _defect(
        8,
        "half of a nonce has 3 random bytes",
        "core/test_requirements.py::test_a_million_seals_have_a_million_nonces",
        (SEALING, "nonce = self._random(12)", "nonce = self._random(3) + bytes(9)"),
    ),
    _defect(
        8,
        "a forked child goes on with half a nonce of its parent",
        "core/test_sealing.py::TestNonces::test_unique_over_fork",
        (SEALING, " and pid == os.getpid()", ""),
    ),
    _defect(
        8,
        "threads go on with half a nonce for ever",
        "core/test_sealing.py::TestNonces::test_unique_over_threads",
        (SEALING, " and next(seals) < _KEPT_SEALS", ""),
    ),
    _defect(
        8,
        "the cipher derives another key",
        "core/test_sealing.py::TestCipher::test_published_vectors",
        (SEALING, "first = mask ^ 0x00015800 << 96", "first = mask ^ 0x00015801 << 96"),
    ),
    _defect(
        9,
        "a record that does not open is unpickled",
        "stores/test_requirements.py::test_nothing_hostile_is_executed[optimistic]",
        (
            TIERS,
            '            self._tell("rejected", "record", tier=self._home)',
            '            with __import__("contextlib").suppress(Exception):\n'
            '                __import__("pickle").loads(sealed)',
        ),
    ),
    _defect(
        9,
        "a cookie that does not open is evaluated",
        "stores/test_requirements.py::test_nothing_hostile_is_executed[optimistic]",
        (
            PRESENTED,
            "        return None if token is None or sealed is None",
            '        if plain is None:\n            with __import__("contextlib").suppress(Exception):\n'
            "                eval(text)\n        return None if token is None or sealed is None",
        ),
    ),
    _defect(
        10,
        "+ and / are read as - and _",
        "core/test_cookies.py::TestText::test_every_foreign_character_is_refused",
        (COOKIES, 'if "=" in text or "+" in text or "/" in text:', 'if "=" in text:'),
    ),
    _defect(
        10,
        "tokens are not padded to a multiple of 3 bytes",
        "core/test_token.py::test_length_leaves_no_other_spelling",
        (TOKEN, "padding = -(_SIZE + len(content)) % 3", "padding = 0"),
    ),
    _defect(
        10,
        "values of any length are decoded",
        "core/test_requirements.py::test_length_is_checked_before_any_work",
        (COOKIES, "if len(rest) <= _COOKIE_BYTES:", "if True:"),
        (COOKIES, "if len(value) <= _COOKIE_BYTES", "if True"),
    ),
    _defect(
        11,
        "a session shows its id",
        "core/test_requirements.py::test_nothing_secret_in_logs_and_texts",
        (SESSION, "self._manager.short_hash(token.sid)", "format_sid(token.sid)"),
    ),
    _defect(
        11,
        "a bad cookie is logged",
        "core/test_presented.py::test_bad_cookie_is_logged_once_without_payload",
        (MANAGER, '"invalid", quiet=', '"invalid", session._headers, quiet='),
    ),
    _defect(
        11,
        "the short hash has no key",
        "core/test_manager.py::test_short_hash_needs_the_key",
        (SEALING, "hmac.digest(self._short_hash_key, data", 'hmac.digest(b"", data'),
    ),
    # -- life of a session -------------------------------------------------------------------------------------------
    _defect(
        11,
        "a complaint shows the key",
        "core/test_sealing.py::TestKeys::test_no_complaint_shows_the_key",
        (SEALING, 'f"{name} has {len(key)} bytes and', 'f"{name}={key!r} has {len(key)} bytes and'),
    ),
    _defect(
        12,
        "a new session takes the id that came",
        "core/test_requirements.py::test_an_unknown_sid_is_never_adopted",
        (
            MANAGER,
            "Token(self._random(32), issued",
            "Token(session._token.sid if session._token else self._random(32), issued",
        ),
    ),
    _defect(
        13,
        "the old id of a bound session goes on in the cookie",
        "core/test_principals.py::TestEnding::test_a_copied_cookie_is_refused_after_a_new_id",
        (EXCHANGE, "yield from self._leave(old, now)", "pass"),
    ),
    _defect(
        13,
        "the old id of a stored session goes on",
        "core/test_session.py::TestVerbs::test_regenerate_id",
        (
            TIERS,
            "result = yield from self._replace(old_key, marker, expires, expect, write_id, base_id, now)",
            "result = _Applied(None, marker)",
        ),
        (TIERS, "            yield from self._bury(old_key)\n", ""),
    ),
    _defect(
        14,
        "a logout does not tell the list",
        "core/test_principals.py::TestEnding::test_a_copied_cookie_is_refused_after_logout",
        (EXCHANGE, "yield from manager._principals.leave(old, Ending.ENDED, now)", "pass"),
    ),
    _defect(
        14,
        "a bound session asks once and never again",
        "core/test_principals.py::TestRevoking::test_within_the_interval",
        (
            PRINCIPALS,
            "return known if known is not None and 0 <= now - known.asked < self._check else None",
            "return known",
        ),
    ),
    _defect(
        14,
        "a bound session asks at every request",
        "core/test_principals.py::TestCosts::test_one_small_read_per_interval",
        (PRINCIPALS, "0 <= now - known.asked < self._check", "0 <= now - known.asked < 1"),
    ),
    _defect(
        14,
        "a logout does not tell the list, under the WSGI adapter",
        "wsgi/test_conformance.py::TestWSGI::test_copied_cookie_of_bound_session_is_refused",
        (EXCHANGE, "yield from manager._principals.leave(old, Ending.ENDED, now)", "pass"),
    ),
    _defect(
        15,
        "revoking one session ends all",
        "core/test_principals.py::TestRevoking::test_one_of_them",
        (PRINCIPALS, "only in (None, entry.public_id)", "True"),
    ),
    _defect(
        15,
        "revoking ends one session only",
        "core/test_principals.py::TestRevoking::test_all_sessions_end_in_every_tier",
        (
            PRINCIPALS,
            "entries[name] = entry._replace(ended=now, ending=int(ending))",
            "entries[name] = entry._replace(ended=now, ending=int(ending))\n                    break",
        ),
    ),
    _defect(
        15,
        "revoking writes whatever else was written",
        "core/test_principals.py::TestRevoking::test_by_one_atomic_write",
        (
            PRINCIPALS,
            "Put(Tier.DURABLE, key, sealed, expires, expect)",
            "Put(Tier.DURABLE, key, sealed, expires, Expect.ANYTHING)",
        ),
    ),
    _defect(
        16,
        "an expired cookie lives",
        "core/test_session.py::TestVerbs::test_absolute_lifetime",
        (PRESENTED, "return now < token.expires and (", "return ("),
    ),
    _defect(
        16,
        "every write extends the lifetime",
        "core/test_session.py::TestVerbs::test_absolute_lifetime",
        (
            EXCHANGE,
            "Token, (sid, issued, expires, now // 1000, epoch, revision + 1,",
            "Token, (sid, issued, self._manager._end_of(None, now // 1000)[0], now // 1000, epoch, revision + 1,",
        ),
    ),
    _defect(
        16,
        "a new id extends the lifetime",
        "core/test_session.py::TestVerbs::test_regenerate_id",
        (SESSION, "new = new._replace(expires=old.expires, browser=old.browser)", "pass"),
    ),
    _defect(
        16,
        "idle sessions live twice as long",
        "core/test_session.py::TestVerbs::test_idle_timeout",
        (PRESENTED, "now - token.seen <= idle_timeout", "now - token.seen <= 2 * idle_timeout"),
    ),
    _defect(
        16,
        "a browser session never ends",
        "core/test_session.py::TestVerbs::test_start_browser_session",
        (
            MANAGER,
            "return now + self.settings.lifetime, expiration_ts == 0",
            "return now + self.settings.lifetime * (100 if expiration_ts == 0 else 1), expiration_ts == 0",
        ),
    ),
    _defect(
        17,
        "a session that ends is deleted, without a marker",
        "core/test_tiers.py::TestEnding::test_second_promotion_does_not_insert_after_a_logout",
        (
            TIERS,
            "yield Put(self._home, key, self._records.seal(plain, key.encode(), now / 1000), expires, Expect.ANYTHING)",
            "yield Delete(self._home, key)",
        ),
    ),
    _defect(
        17,
        "a refill replaces what is there",
        "core/test_tiers.py::TestEnding::test_stalled_refill_does_not_bring_a_session_back",
        (
            TIERS,
            "# rule 4: a miss is refilled with add\n            expect = Expect.ABSENT",
            "\n            expect = Expect.ANYTHING",
        ),
    ),
    _defect(
        17,
        "a slow write takes no notice of the end",
        "core/test_tiers.py::TestEnding::test_slow_write_after_a_logout_is_dropped",
        _UNCONDITIONAL,
    ),
    _defect(
        17,
        "an end leaves the cache alone, which a reader refilled",
        "core/test_requirements.py::test_a_read_only_request_brings_nothing_back",
        (
            TIERS,
            'cannot be ended now: {error}") from error\n        yield from self._bury(key)',
            'cannot be ended now: {error}") from error',
        ),
    ),
    _defect(
        17,
        "the cache is trusted for ever",
        "core/test_attacks.py::TestTrust::test_quick_writes_do_not_renew_it",
        (TIERS, "            and self._is_trusted(entry, now)\n", ""),
    ),
    _defect(
        18,
        "every read refreshes the idle cookie",
        "core/test_session.py::TestVerbs::test_idle_refresh_is_coarse",
        (EXCHANGE, "if now < token.seen * 1000 + idle * 100:", "if now < token.seen * 1000:"),
    ),
    _defect(
        18,
        "a pop of nothing starts a session",
        "core/test_session.py::TestMapping::test_nothing_before_the_first_write",
        (
            SESSION,
            "        if key not in self:\n            return default\n",
            "        if key not in self:\n            self._assign(key, default)\n",
        ),
    ),
    _defect(
        18,
        "random cookies are answered with a deletion",
        "core/test_requirements.py::test_random_cookies_touch_nothing",
        _IGNORED_IS_DELETED,
    ),
    _defect(
        19,
        "keys of the stores show the id",
        "core/test_requirements.py::test_what_is_in_a_store_opens_nothing",
        (
            TIERS,
            'return "s" + hashlib.sha256(b"holdall/sid" + sid).hexdigest()',
            'return "s" + __import__("base64").urlsafe_b64encode(sid).decode().rstrip("=")',
        ),
    ),
    _defect(
        19,
        "records are not bound to their session",
        "core/test_tiers.py::TestMissOrError::test_swapped_records_open_nothing",
        (TIERS, "self._records.open(sealed, key.encode())", 'self._records.open(sealed, b"")'),
        (
            TIERS,
            "self._records.seal(plain, key.encode(), now / 1000), expires, expect)",
            'self._records.seal(plain, b"", now / 1000), expires, expect)',
        ),
    ),
    _defect(
        19,
        "records and cache entries are sealed alike",
        "core/test_requirements.py::test_an_entry_is_no_record_and_a_record_no_entry",
        (MANAGER, 'f"record/{settings.audience}"', 'f"entry/{settings.audience}"'),
    ),
    _defect(
        19,
        "garbage in a store is an error",
        "core/test_tiers.py::TestMissOrError::test_garbage_in_the_stores_is_no_session",
        (
            TIERS,
            '"record", tier=self._home)\n            return b"", None',
            '"record", tier=self._home)\n            raise SessionUnavailable("garbage")',
        ),
    ),
    _defect(
        19,
        "an older cache entry that was put back is served",
        "stores/test_requirements.py::test_records_that_were_tampered_with_are_no_session[optimistic]",
        _NO_FLOOR,
    ),
    # -- HTTP --------------------------------------------------------------------------------------------------------
    _defect(
        19,
        "garbage in a part of a large session is an error",
        "stores/test_parts.py::test_what_is_damaged_in_a_durable_store_is_found",
        (
            PARTS,
            "if value is None:\n                        raise StoreUnavailable",
            "if True:\n                        raise StoreUnavailable",
        ),
    ),
    _defect(
        20,
        "scripts see the cookie",
        "core/test_requirements.py::test_secure_by_default",
        (OPTIONS, "http_only: bool = True", "http_only: bool = False"),
    ),
    _defect(
        20,
        "a path holds any character",
        "core/test_cookie_options.py::test_nothing_breaks_out_of_the_header",
        (OPTIONS, "/[!-+\\x2d-:<-~]{0,1023}", "/(?s:.){0,1023}"),
    ),
    _defect(
        20,
        "SameSite=None goes without Secure",
        "core/test_cookie_options.py::test_refused",
        (OPTIONS, 'if self.same_site == "None" and not self.secure:', "if False:"),
    ),
    _defect(
        20,
        "the cookie is for all hosts below",
        "core/test_requirements.py::test_secure_by_default",
        (OPTIONS, 'return "__Host-session" if', 'return "session" if'),
    ),
    _defect(
        20,
        "cookies go over plain http",
        "core/test_requirements.py::test_secure_by_default",
        (OPTIONS, "secure: bool = True", "secure: bool = False"),
    ),
    _defect(
        20,
        "cookies go with every site's requests",
        "core/test_cookie_options.py::test_defaults_are_strict",
        (OPTIONS, '| None = "Lax"', "| None = None"),
    ),
    _defect(
        20,
        "a domain holds any character",
        "core/test_cookie_options.py::test_nothing_breaks_out_of_the_header",
        (OPTIONS, "if self.domain is not None and not _matches(_DOMAIN, self.domain):", "if False:"),
    ),
    _defect(
        20,
        "a name holds any character",
        "core/test_cookie_options.py::test_nothing_breaks_out_of_the_header",
        (OPTIONS, "if self.name is not None and not _matches(_NAME, self.name):", "if False:"),
    ),
    _defect(
        21,
        "cookies have 4,200 bytes",
        "core/test_cookies.py::TestSplit::test_capacity",
        (COOKIES, "_COOKIE_BYTES = 4096", "_COOKIE_BYTES = 4200"),
    ),
    _defect(
        21,
        "a threshold under 1,000 bytes counts as 1,000",
        "core/test_presented.py::test_threshold_zero_never_puts_data_into_the_cookie",
        (EXCHANGE, "size <= self._manager._inline_room", "size <= max(1_000, self._manager._inline_room)"),
    ),
    _defect(
        21,
        "cookies live for 4,000 days",
        "core/test_requirements.py::test_secure_by_default",
        (COOKIES, "_LONGEST_AGE = 400 * 24", "_LONGEST_AGE = 4000 * 24"),
    ),
    _defect(
        22,
        "the application's cookie of our name stays",
        "core/test_headers.py::TestSession::test_application_cookies_survive",
        (HEADERS, "own = without_cookies(headers, {_cookie_name(value) for _, value in cookies})", "own = headers"),
    ),
    _defect(
        22,
        "the application's own cookies go",
        "core/test_headers.py::TestSession::test_application_cookies_survive",
        (
            HEADERS,
            "own = without_cookies(headers, {_cookie_name(value) for _, value in cookies})",
            'own = [pair for pair in headers if pair[0].lower() != "set-cookie"]',
        ),
    ),
    _defect(
        22,
        "the application's list is added to",
        "core/test_exchange.py::TestHeaders::test_given_headers_stay_as_they_are",
        *_OWN_LIST,
    ),
    _defect(
        23,
        "a response that only read does not vary",
        "core/test_exchange.py::TestHeaders::test_vary_on_any_access",
        (
            EXCHANGE,
            "return Finished(self._respond(headers, self._refresh()))",
            "return Finished(headers + self._refresh())",
        ),
    ),
    _defect(
        23,
        "Cookie is added to *",
        "core/test_headers.py::TestVary::test_merge",
        (HEADERS, 'in ("cookie", "*")', 'in ("cookie",)'),
    ),
    _defect(
        23,
        "an untouched response varies",
        "core/test_exchange.py::TestHeaders::test_untouched_is_handed_back",
        (
            EXCHANGE,
            "if session._presented is None:\n            return Finished(headers)",
            "if session._presented is None:\n            return Finished(with_vary_cookie(headers))",
        ),
    ),
    _defect(
        24,
        "of two valid sessions the newer one counts",
        "core/test_presented.py::test_of_different_sessions_none",
        (PRESENTED, "if not found or any(token.sid != found[0][0].sid for token, _ in found):", "if not found:"),
    ),
    _defect(
        24,
        "of one session's cookies the first counts",
        "core/test_presented.py::test_of_one_session_the_highest",
        (PRESENTED, "return max(found, key=lambda pair: pair[0].rank)", "return found[0]"),
    ),
    _defect(
        24,
        "any space is ignored around a name",
        "core/test_cookies.py::TestFind::test_neighbours_change_nothing",
        (COOKIES, 'text.count(" ") + text.count("\\t") == len(text)', "not text.strip()"),
    ),
    _defect(
        24,
        "the parser looks at everything that looks like our name",
        "core/test_requirements.py::test_a_megabyte_is_searched_a_bounded_number_of_times",
        (COOKIES, "range(_HITS)", "range(len(header))"),
    ),
    _defect(
        25,
        "pieces are sorted as text",
        "core/test_presented.py::TestSplit::test_more_than_ten_pieces_keep_their_order",
        (
            COOKIES,
            "for number in range(1, _COUNTS.get(digits, 0)))]",
            "for number in sorted(range(1, _COUNTS.get(digits, 0)), key=str))]",
        ),
    ),
    _defect(
        25,
        "a missing piece is a crash",
        "core/test_presented.py::TestSplit::test_missing_or_stale_piece_is_no_session",
        (COOKIES, "if len(columns) > 1 and all(columns):", "if len(columns) > 1:"),
    ),
    _defect(
        25,
        "a mixed set of pieces is a crash",
        "core/test_presented.py::TestSplit::test_missing_or_stale_piece_is_no_session",
        (
            SEALING,
            "        except InvalidTag:\n            return None",
            "        except InvalidTag:\n            raise",
        ),
    ),
    _defect(
        25,
        "pieces are authenticated without their count",
        "core/test_presented.py::TestSplit::test_another_count_opens_nothing",
        (PRESENTED, 'f"{self.name}/{pieces}".encode()', 'f"{self.name}/".encode()'),
    ),
    _defect(
        25,
        "what the application ended leaves its pieces",
        "core/test_presented.py::TestSplit::test_terminate_clears_every_piece",
        (
            EXCHANGE,
            "manager._set_inline.delete([0, *self._pieces()], secure=secure)",
            "manager._set_inline.delete([0], secure=secure)",
        ),
    ),
    _defect(
        25,
        "stale pieces stay",
        "core/test_presented.py::TestSplit::test_grows_and_shrinks",
        (EXCHANGE, "if observed := self._pieces():", "if observed := list[int]():"),
    ),
    # -- concurrency -------------------------------------------------------------------------------------------------
    _defect(
        26,
        "the last request writes over the first",
        "core/test_requirements.py::test_overlapping_requests",
        _UNCONDITIONAL,
    ),
    _defect(
        26,
        "an increment is replayed as its sum",
        "core/test_requirements.py::test_overlapping_requests",
        (SESSION, "self._marks[key] = (mark or 0) + amount", "pass"),
    ),
    _defect(
        27,
        "all sessions share what is assigned",
        "core/test_requirements.py::test_interleaved_requests_share_nothing",
        (
            SESSION,
            "self._live: dict[str, Any] = {}",
            'self._live = self._manager.__dict__.setdefault("_live", {})',
        ),
    ),
    _defect(
        27,
        "threads share the current session",
        "core/test_current.py::test_each_context_has_its_own",
        (
            CURRENT,
            "current_session: ContextVar[Session | None] = ContextVar(",
            "class _Everybody:\n"
            "    def __init__(self, *args, **kwargs): self.value = None\n"
            "    def get(self): return self.value\n"
            "    def set(self, value): self.value, before = value, self.value; return before\n"
            "    def reset(self, before): self.value = before\n"
            "current_session = _Everybody(",
        ),
    ),
    _defect(
        27,
        "tasks of one event loop share the current session",
        "asgi/test_isolation.py::test_interleaved_requests_each_see_their_own_session",
        (
            CURRENT,
            "current_session: ContextVar[Session | None] = ContextVar(",
            "import threading\n\n\n"
            "class _Thread(threading.local):\n"
            "    value = None\n"
            "    def __init__(self, *args, **kwargs): pass\n"
            "    def get(self): return self.value\n"
            "    def set(self, value): self.value, before = value, self.value; return before\n"
            "    def reset(self, before): self.value = before\n"
            "current_session = _Thread(",
        ),
    ),
    _defect(
        27,
        "a connection whose reply is still to come goes back to the pool",
        "stores/test_memcached.py::test_a_reply_that_comes_too_late_is_nobodys",
        (MEMCACHED, "client.close()  # whatever it was", "self._idle.give(client)  # whatever it was"),
    ),
    _defect(
        27,
        "a forked child uses its parent's connections",
        "stores/test_memcached.py::test_forked_children_have_connections_of_their_own",
        (POOL, "return self._idle[os.getpid()].pop()", "return self._idle[0].pop()"),
        (POOL, "self._idle.setdefault(os.getpid(), deque())", "self._idle.setdefault(0, deque())"),
        (POOL, "os.register_at_fork(before=_drain_all)", "pass"),
    ),
    _defect(
        27,
        "a worker keeps its current session",
        "wsgi/test_middleware.py::TestCurrentSession::test_gone_after_the_request",
        (WSGI, "current_session.reset(token)", "pass"),
    ),
    _defect(
        27,
        "a header list of the module gets cookies",
        "wsgi/test_middleware.py::TestStartResponse::test_the_applications_header_list_is_never_changed",
        *_OWN_LIST,
    ),
    _defect(
        27,
        "forked children draw the same ids",
        "core/test_requirements.py::test_forks_share_nothing_of_a_session",
        (MANAGER, "[int], bytes] = os.urandom", '[int], bytes] = __import__("random").Random(1).randbytes'),
    ),
    _defect(
        28,
        "a lock is held from the first look to the end of the response",
        "core/test_requirements.py::test_no_lock_is_held_over_a_request",
        (
            MANAGER,
            '        self._complained = float("-inf")',
            '        self._complained = float("-inf")\n        self._lock = __import__("threading").Lock()',
        ),
        (
            MANAGER,
            "        return self._exchange(self, self._session_class(self, cookie_headers, drive))",
            "        if not self._lock.acquire(timeout=1):\n"
            '            raise SessionUnavailable("another request holds the lock")\n'
            "        return self._exchange(self, self._session_class(self, cookie_headers, drive))",
        ),
        (
            EXCHANGE,
            "        session = self.session\n        if session._committed and not",
            "        session = self.session\n        self._manager._lock.release()\n"
            "        if session._committed and not",
        ),
    ),
    # -- faults ------------------------------------------------------------------------------------------------------
    _defect(
        29,
        "nothing can be read without the cache",
        "core/test_tiers.py::TestMissOrError::test_cache_down_is_slower_and_right",
        (
            TIERS,
            '"cache_read", error, tier=Tier.CACHE)\n            cached = None',
            '"cache_read", error, tier=Tier.CACHE)\n            raise SessionUnavailable("no cache") from error',
        ),
    ),
    _defect(
        29,
        "an entry from before the outage is served to who has seen newer",
        "stores/test_sessions.py::TestMemcachedAndSQLite::test_memcached_that_was_away",
        _NO_FLOOR,
    ),
    _defect(
        29,
        "a cache that comes back has what was written while it was away",
        "core/test_tiers.py::TestTrustAndFloor::test_write_while_the_cache_was_away_is_seen_afterwards",
        _NO_FLOOR,
    ),
    _defect(
        29,
        "a dead cache is tried by every request",
        "faults/test_servers.py::TestCache::test_a_dead_cache_is_left_alone",
        (BREAKER, "if self._failed >= self._limit:", "if False:"),
    ),
    _defect(
        30,
        "no answer is taken for no session",
        "core/test_tiers.py::TestMissOrError::test_durable_down_and_cache_miss",
        (
            TIERS,
            'raise SessionUnavailable(f"the session\'s store cannot be read: {error}") from error',
            "return Missing()",
        ),
    ),
    _defect(
        30,
        "a write without an answer is taken for saved",
        "core/test_tiers.py::TestMissOrError::test_durable_down_and_cache_hit",
        (
            TIERS,
            '"no_reply", error, tier=self._home)\n                unsure = True',
            '"no_reply", error, tier=self._home)\n                return _Applied(None, plain)',
        ),
    ),
    _defect(
        30,
        "a 503 deletes the cookie",
        "wsgi/test_middleware.py::TestUnavailable::test_answers_503_and_keeps_the_cookie",
        (
            WSGI,
            '            ("Retry-After", "5"),',
            '            ("Retry-After", "5"),\n'
            '            ("Set-Cookie", "__Host-session-ref=; Max-Age=0; Path=/; Secure"),',
        ),
    ),
    _defect(
        30,
        "a stalled durable store is a session that is gone",
        "faults/test_servers.py::TestDurable::test_behind_a_dead_line[optimistic-Mode.STALL]",
        (
            TIERS,
            'raise SessionUnavailable(f"the session\'s store cannot be read: {error}") from error',
            "return Missing()",
        ),
    ),
    _defect(
        30,
        "a damaged answer is read as it is",
        "stores/test_datastore.py::TestFaults::test_a_damaged_reply_is_no_answer",
        (DATASTORE, "return _write_of(entity) & _CHECKSUM == _checksum(entity)", "return True"),
    ),
    _defect(
        31,
        "every session asks whether it was revoked, and waits",
        "faults/test_servers.py::TestDurable::test_behind_a_dead_line[optimistic-Mode.RESET]",
        (
            MANAGER,
            "not (token.bond and self._is_to_ask(token.bond, token.sid)):",
            'not self._is_to_ask(b"", token.sid):',
        ),
        (MANAGER, "return bool(bond) and self._principals is not None", "return self._principals is not None"),
        (PRINCIPALS, "None if entries is None else self._remember(entries, _name(sid), now)", "None"),
        (
            PRINCIPALS,
            '"revocation", error, tier=Tier.DURABLE)\n            return None',
            '"revocation", error, tier=Tier.DURABLE)\n            raise SessionUnavailable("nobody asked") from error',
        ),
    ),
    _defect(
        31,
        "sessions in the cookie wait for the durable tier",
        "core/test_tiers.py::TestMissOrError::test_both_down_inline_works",
        (MANAGER, "return bool(bond) and self._principals is not None", "return self._principals is not None"),
        (MANAGER, "not (token.bond and self._is_to_ask(", "not (self._is_to_ask("),
        (
            PRINCIPALS,
            '"revocation", error, tier=Tier.DURABLE)\n            return None',
            '"revocation", error, tier=Tier.DURABLE)\n            raise SessionUnavailable("nobody asked") from error',
        ),
    ),
    _defect(
        32,
        "nobody looks whether a write without a reply was applied",
        "core/test_tiers.py::TestAmbiguity::test_lost_reply_is_applied_once",
        (TIERS, "if write_id in stored.writes:", "if False:"),
    ),
    _defect(
        32,
        "what is unknown is tried again",
        "core/test_tiers.py::TestAmbiguity::test_history_too_short_is_reported_as_unknown",
        (TIERS, "if unsure and not reaches_back:", "if False:"),
    ),
    _defect(
        32,
        "Datastore's conflict after a lost reply is believed",
        "stores/test_datastore.py::TestFaults::test_no_conflict_unless_it_is_certain",
        (DATASTORE, "if not refused.in_doubt:", "if True:"),
    ),
    _defect(
        33,
        "a change of several keys is written in two steps",
        "simulation/test_crashes.py::test_before_or_after_and_never_a_half[dies before-change-stored-warm-durable]",
        (
            TIERS,
            "        cached = base.cached if isinstance(base, Held) else None\n",
            "        if isinstance(base, Held) and len(changes.assigned) > 1:\n"
            "            first = Changes(assigned=dict(list(changes.assigned.items())[:1]))\n"
            "            yield from self.update(key, base, first, floor, now)\n"
            "            base = yield from self._read_home(key, now)\n"
            "        cached = base.cached if isinstance(base, Held) else None\n",
        ),
    ),
    _defect(
        33,
        "the parts of a large value are replaced where they are",
        "stores/test_parts.py::TestInterrupted::test_killed_at_every_step",
        (PARTS, "self._random(_NAME_BYTES), math.ceil(", "bytes(_NAME_BYTES), math.ceil("),
    ),
    _defect(
        34,
        "a session of any size is sent",
        "stores/test_stores.py::test_one_limit_for_all",
        (STORES, "if isinstance(command, Put) and len(command.value) > self.max_session_bytes:", "if False:"),
    ),
    _defect(
        34,
        "a refusal is taken for success",
        "core/test_tiers.py::TestMissOrError::test_too_large_leaves_the_old_state",
        (
            TIERS,
            "raise SessionTooLarge(error.size, error.limit, str(error)) from error",
            "return _Applied(None, plain)",
        ),
    ),
    _defect(
        35,
        "what the cache lost is not put back",
        "core/test_tiers.py::TestCosts::test_read_after_loss",
        (
            TIERS,
            "        if expect is not None:\n            yield from self._try_put_entry",
            "        if False:\n            yield from self._try_put_entry",
        ),
    ),
    _defect(
        35,
        "an old copy on another node is the session",
        "core/test_tiers.py::TestNoDatastore::test_older_copy_is_not_taken_for_the_session",
        (TIERS, "if isinstance(held, Held) and held.record.revision < floor:", "if False:"),
    ),
    _defect(
        35,
        "what the cache lost is added again by a slow request",
        "core/test_tiers.py::TestNoDatastore::test_loss_ends_it",
        (
            TIERS,
            "                return Gone(None, 0)\n            found, stored",
            "                put = Put(put.tier, put.key, put.value, put.expires, Expect.ABSENT)\n"
            "                continue\n            found, stored",
        ),
    ),
    _defect(
        36,
        "memcached has no deadline",
        "stores/test_memcached.py::test_a_server_that_says_nothing_is_unavailable",
        (MEMCACHED, "client.sock.settimeout(timeout)\n    except", "client.sock.settimeout(None)\n    except"),
    ),
    _defect(
        36,
        "a reply in drops stretches memcached's deadline",
        "stores/test_memcached.py::test_a_reply_in_drops_is_unavailable",
        (MEMCACHED, "if time.monotonic() > self._deadline:", "if False:"),
    ),
    _defect(
        36,
        "a store that keeps failing is asked for ever",
        "stores/test_breaker.py::test_failures_in_a_row_open_it",
        (BREAKER, "if self._failed >= self._limit:", "if False:"),
    ),
    _defect(
        36,
        "pauses are not jittered",
        "stores/test_datastore.py::TestFaults::test_pauses_grow_and_are_jittered",
        (DATASTORE, "pause = self._random() * pauses.pop(0) if", "pause = pauses.pop(0) if"),
    ),
    _defect(
        36,
        "after its pause every call tries a store that is down",
        "stores/test_breaker.py::test_after_the_pause_one_call_goes_through",
        (BREAKER, "self._resume = now + self._pause  # the", "pass  # the"),
        (
            BREAKER,
            "            self._resume = self._clock() + self._pause\n            raise",
            "            if self._failed == self._limit:\n"
            "                self._resume = self._clock() + self._pause\n"
            "            raise",
        ),
    ),
    _defect(
        37,
        "31 days are sent to memcached as a span",
        "stores/test_memcached.py::test_memcached_counts_down_the_lifetime",
        (EXPTIME, "_LONGEST_RELATIVE = 30 * 24", "_LONGEST_RELATIVE = 3000 * 24"),
    ),
    _defect(
        37,
        "times after 2038 are sent as they are",
        "stores/test_memcached.py::test_past_2038_a_value_is_still_kept",
        (EXPTIME, "_LATEST_ABSOLUTE = 2**31 - 1", "_LATEST_ABSOLUTE = 2**40"),
    ),
    _defect(
        37,
        "entries of a server ahead are believed for an hour",
        "core/test_tiers.py::TestTrustAndFloor::test_clocks_apart_only_cost_lookups",
        (
            TIERS,
            "return -min(_AHEAD, self._trust) <= now - entry.confirmed < self._trust",
            "return now - entry.confirmed < self._trust",
        ),
    ),
    _defect(
        38,
        "a record of a newer version is no session",
        "core/test_requirements.py::test_a_record_of_a_newer_version_is_refused_and_kept",
        (TIERS, 'raise SessionUnavailable("a record was written by a newer version of Holdall")', 'return b"", None'),
    ),
    _defect(
        38,
        "any format is read",
        "core/test_record.py::test_unknown_format_is_refused",
        (RECORD, "if len(plain) < _MARKER.size or plain[0] != _FORMAT:", "if len(plain) < _MARKER.size:"),
    ),
    _defect(
        38,
        "a list of a newer version is an empty one",
        "core/test_principals.py::TestOutages::test_another_formats_list_is_left_alone",
        (
            PRINCIPALS,
            'raise SessionUnavailable("the list of a principal\'s sessions was written by a newer version of Holdall")',
            "return {}, answer.version",
        ),
    ),
    _defect(
        38,
        "a large value of a newer format is a damaged one",
        "stores/test_parts.py::TestReaders::test_another_format_is_left_alone",
        (
            PARTS,
            'raise StoreUnavailable("a large value was written by a newer version of Holdall")',
            "return None",
        ),
    ),
    # -- moving in -----------------------------------------------------------------------------------------------------
    _defect(
        39,
        "the HMAC of gae-sessions' cookies is not checked",
        "stores/test_gae_sessions.py::test_forged",
        (
            GAE_SESSIONS,
            'if parts is None or not compare_digest(signature.encode("utf-8", "replace"), good):',
            "if parts is None:",
        ),
    ),
    _defect(
        39,
        "gae-sessions' pickles are read by an unpickler that finds every class",
        "stores/test_gae_sessions.py::test_not_plain",
        (
            GAE_SESSIONS,
            "models, values = loads(value, self.most_bytes)",
            'models, values = __import__("pickle").loads(value, encoding="latin-1")',
        ),
    ),
    _defect(
        39,
        "a Flask cookie is accepted however old it is",
        "flask/test_moving.py::test_too_old",
        (
            OLD_FLASK,
            "if isinstance(values, dict) and 0 <= int(now) - issued <= lifetime:",
            "if isinstance(values, dict):",
        ),
    ),
    _defect(
        39,
        "the end date is ignored",
        "core/test_moving.py::test_until",
        (MOVING, "return now < self.until and bool(self.names(header))", "return bool(self.names(header))"),
    ),
    _defect(
        39,
        "an old cookie wins over a session of Holdall's",
        "core/test_moving.py::test_a_session_of_ours_counts",
        (
            MANAGER,
            "if self.moving_in is not None and not (presented.inline or presented.reference):",
            "if self.moving_in is not None:",
        ),
    ),
    _defect(
        39,
        "of several old sessions the last one in the header is meant",
        "core/test_moving.py::test_several_cookies",
        (MANAGER, "old = found[0] if len(found) == 1 else None", "old = found[-1] if found else None"),
    ),
    _defect(
        40,
        "the old cookie is not deleted",
        "core/test_moving.py::test_first_write_moves",
        (EXCHANGE, "else moving.delete(self._opened._headers)", "else []"),
    ),
    _defect(
        40,
        "the old record is not deleted",
        "core/test_moving.py::test_stored",
        (EXCHANGE, "if session._old is not None and not self._keeps_old:", "if False:"),
    ),
    _defect(
        40,
        "nobody asks whether an old session has moved in or ended",
        "core/test_moving.py::test_copied_cookie",
        (MANAGER, "gone = yield from self._tiers.ending(store_key(token.sid), now)", "gone = None"),
    ),
    _defect(
        40,
        "a logout leaves an old cookie alive that came along",
        "core/test_moving.py::test_logout_ends_what_came_along",
        (
            EXCHANGE,
            "[(old, expires, self.session._old), *self._came_along(now)]",
            "[(old, expires, self.session._old)]",
        ),
    ),
    _defect(
        40,
        "a login that is revoked while it moves in goes on",
        "core/test_moving.py::test_a_revocation_while_it_moves",
        (EXCHANGE, "login if is_moved and token.bond == owner else None", "None"),
    ),
    _defect(
        40,
        "a revocation ends the old session that it is to spare",
        "core/test_moving.py::test_a_revocation_spares_who_asked",
        (PRINCIPALS, '_Entry(kept or "", before', '_Entry("", now'),
    ),
    _defect(
        40,
        "a revocation that spares a session takes an earlier one back",
        "core/test_moving.py::test_a_revocation_takes_no_earlier_one_back",
        (PRINCIPALS, "last.created if last.public_id == kept else last.ended", "last.created"),
    ),
    _defect(
        40,
        "what ended is forgotten at the end date",
        "core/test_moving.py::test_clocks_apart",
        (MOVING, "self.remembered = self.until + 86_400", "self.remembered = self.until"),
    ),
    _defect(
        40,
        "a copied cookie is another session when its signature is spelled otherwise",
        "flask/test_moving.py::test_other_spellings",
        (OLD_FLASK, 'text.rpartition(".")[0].encode("latin-1")', 'text.encode("latin-1")'),
    ),
]
