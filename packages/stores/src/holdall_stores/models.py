"""ndb.Model and ndb.Key as session values: to Datastore's protobuf bytes and back.

ndb has no public way from a model to a protobuf and back, so its private functions are called here and
nowhere else, and the tests pin what they do. No I/O: nothing is read from or written to Datastore.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from google.cloud import ndb
from google.cloud.datastore import helpers as datastore_helpers
from google.cloud.datastore_v1 import types
from google.cloud.ndb import context as ndb_context
from google.cloud.ndb import model as ndb_model
from holdall import UsageError, register_type


def register_models(client: ndb.Client) -> None:
    """Let sessions hold ndb.Model instances and ndb.Key values in any tier; `Datastore` calls it by itself.

    They come back equal, of the same class, with their key, be it complete, incomplete or None. A model's
    module has to be imported before such a session is read. Where no ndb context is running, one is opened
    for the moment on `client`, the last one given.

    What cannot come back equal is refused with a `UsageError` when it is stored: a model with required
    properties that have no value, with only some of its properties (from a projection query), with a
    PickleProperty, with models or dicts in dynamic properties of an Expando, with integers over 64 bits, or
    of a class that ndb would not find again by its name.
    """
    global _client
    registered = _client is not None
    _client = client
    if not registered:
        register_type(ndb.Model, name="ndb.Model", encode=_encode_model, decode=_decode_model, subclasses=True)
        register_type(ndb.Key, name="ndb.Key", encode=_encode_key, decode=_decode_key)


_client: ndb.Client | None = None
_helpers: Any = datastore_helpers  # its package claims to be typed, but these are not

_Kept: TypeAlias = tuple[str, bytes, dict[str, Any]]
"""A model's class name, its protobuf, and what of an Expando does not survive in that."""


@contextmanager
def _context() -> Iterator[None]:
    """A context, the running one if there is any, in which ndb nests structured properties.

    Its default, which the old ndb of App Engine can read, spreads them over the model that holds them.
    """
    running = ndb_context.get_context(False)
    if running is None:
        assert _client is not None  # or nothing would call the functions registered here
        with _client.context(legacy_data=False):
            yield
    elif running.legacy_data:
        with running.new(legacy_data=False).use():
            yield
    else:
        yield


def _encode_model(entity: ndb.Model) -> _Kept:
    model_class = type(entity)
    name = model_class._class_name()
    if ndb.Model._kind_map.get(name) is not model_class:
        raise UsageError(f"ndb knows another class as {name}: give each model a name of its own")
    if entity._projection:
        raise UsageError(f"this {name} comes from a projection query: keep the whole entity, or its key")
    with _context():
        try:
            pb = _helpers.entity_to_protobuf(_ds_entity(entity, with_key=entity._key is not None))
        except ndb.exceptions.BadValueError as error:
            raise UsageError(f"this {name} cannot be kept: {error}") from error
        except UsageError:
            raise
        except ValueError:
            # Its message and its traceback would show the value.
            raise UsageError(f"this {name} cannot be kept: a value is none that Datastore knows") from None
        serialized = pb._pb.SerializeToString(deterministic=True)
        beside = _beside(entity, name, serialized) if isinstance(entity, ndb.Expando) else {}
    return name, serialized, beside


def _ds_entity(entity: ndb.Model, *, with_key: bool) -> Any:
    """What ndb would put, but such that equal models give equal bytes, whatever was read of them before.

    So values that ndb computes at a put are computed first; not by its `_prepare_for_put`, which also renews
    `auto_now` times. And local structured models are nested as entities, because their bytes differ from
    process to process.
    """
    nested: dict[str, Any] = {}
    for prop in ndb_model._properties_of(entity):
        where = f"{type(entity).__name__}.{prop._code_name}"
        if isinstance(prop, ndb.PickleProperty):
            raise UsageError(f"{where} is a PickleProperty, and no pickle is ever read: use a JsonProperty")
        if isinstance(prop, ndb.StructuredProperty) and prop._model_class in (ndb.Model, ndb.Expando):
            raise UsageError(f"{where} is dynamic, and ndb would forget its class: declare it, or use JSON")
        value = prop._get_value(entity)
        if isinstance(prop, ndb.StructuredProperty | ndb.LocalStructuredProperty) and value is not None:
            parts = value if prop._repeated else [value]
            keep_keys = getattr(prop, "_keep_keys", False)
            entities = [_ds_entity(part, with_key=keep_keys) for part in parts]
            nested[prop._name] = entities if prop._repeated else entities[0]
    ds_entity = ndb_model._entity_to_ds_entity(entity, set_key=with_key)
    ds_entity.update(nested)
    return ds_entity


def _beside(entity: ndb.Expando, name: str, serialized: bytes) -> dict[str, Any]:
    """The dynamic properties that Datastore would give back as something else: None and naive times."""
    back = _decode_model((name, serialized, {}))
    return {
        name: prop._get_value(entity)
        for name, prop in sorted(entity._properties.items())
        if name not in type(entity)._properties
        and (name not in back._properties or getattr(back, name) != prop._get_value(entity))
    }


def _decode_model(kept: _Kept) -> ndb.Model:
    name, serialized, beside = kept
    ds_entity = _helpers.entity_from_protobuf(types.Entity.pb().FromString(serialized))
    with _context():
        entity = ndb_model._entity_from_ds_entity(ds_entity, model_class=ndb.Model._lookup_model(name))
    for attribute, value in beside.items():
        if attribute in entity._properties:
            delattr(entity, attribute)  # or an Expando would keep the old value for Datastore
        setattr(entity, attribute, value)
    return entity


def _encode_key(key: ndb.Key) -> bytes:
    serialized: bytes = key._key.to_protobuf()._pb.SerializeToString(deterministic=True)
    return serialized


def _decode_key(serialized: bytes) -> ndb.Key:
    return ndb.Key._from_ds_key(_helpers.key_from_protobuf(types.Key.pb().FromString(serialized)))
