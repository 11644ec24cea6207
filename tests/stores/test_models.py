"""ndb.Model and ndb.Key as session values. No server: nothing is read from or written to Datastore."""

import datetime as dt
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from google.cloud import ndb
from holdall import UsageError
from holdall_stores import models
from holdall_stores.datastore import new_client

NAIVE = dt.datetime(2026, 1, 2, 3, 4, 5, 6)
AWARE = NAIVE.replace(tzinfo=dt.UTC)


class Point(ndb.Model):  # type: ignore[misc]
    x = ndb.IntegerProperty()
    y = ndb.IntegerProperty()


class Address(ndb.Model):  # type: ignore[misc]
    street = ndb.StringProperty("s")
    phones = ndb.StringProperty(repeated=True)
    home = ndb.LocalStructuredProperty(Point)
    length = ndb.ComputedProperty(lambda self: len(self.street or ""))


class Person(ndb.Model):  # type: ignore[misc]
    name = ndb.StringProperty("n")
    age = ndb.IntegerProperty()
    height = ndb.FloatProperty()
    member = ndb.BooleanProperty(default=True)
    text = ndb.TextProperty()
    blob = ndb.BlobProperty(compressed=True)
    data = ndb.JsonProperty()
    born = ndb.DateProperty()
    wakes = ndb.TimeProperty()
    seen = ndb.DateTimeProperty()
    seen_there = ndb.DateTimeProperty(tzinfo=dt.UTC)
    changed = ndb.DateTimeProperty(auto_now=True)
    place = ndb.GeoPtProperty()
    friend = ndb.KeyProperty()
    friends = ndb.KeyProperty(repeated=True)
    days = ndb.DateProperty(repeated=True)
    things = ndb.JsonProperty(repeated=True)
    point = ndb.StructuredProperty(Point)
    points = ndb.StructuredProperty(Point, repeated=True)
    address = ndb.StructuredProperty(Address)
    local = ndb.LocalStructuredProperty(Address)
    locals = ndb.LocalStructuredProperty(Address, repeated=True, compressed=True, keep_keys=True)
    double = ndb.ComputedProperty(lambda self: (self.age or 0) * 2)


class Bag(ndb.Expando):  # type: ignore[misc]
    size = ndb.IntegerProperty()


class Animal(ndb.polymodel.PolyModel):  # type: ignore[misc]
    name = ndb.StringProperty()


class Cat(Animal):
    lives = ndb.IntegerProperty()


class Strict(ndb.Model):  # type: ignore[misc]
    must = ndb.StringProperty(required=True)


class Pickled(ndb.Model):  # type: ignore[misc]
    anything = ndb.PickleProperty()


class HasPickled(ndb.Model):  # type: ignore[misc]
    inner = ndb.LocalStructuredProperty(Pickled)


@pytest.fixture(autouse=True)
def client() -> Iterator[Any]:
    """The client that decoding uses outside an ndb context; nobody is at its address."""
    client = new_client("test", namespace="here", emulator="127.0.0.1:1")
    models.register_models(client)
    yield client
    client.stub.close()


@pytest.fixture(params=["outside", "inside", "legacy"])
def context(request: pytest.FixtureRequest, client: Any) -> Iterator[None]:
    """Outside any ndb context, inside one, and inside one that writes for the old ndb."""
    if request.param == "outside":
        yield
    else:
        with client.context(legacy_data=request.param == "legacy"):
            yield


def full(**more: Any) -> Person:
    return Person(
        name="Zoë",
        age=2**61,
        height=1.8,
        member=False,
        text="t" * 2000,
        blob=bytes(range(256)),
        data={"b": [1, None, {"deep": True}], "a": 2.5},
        born=dt.date(1999, 12, 31),
        wakes=dt.time(6, 30, 0, 1),
        seen=NAIVE,
        seen_there=AWARE,
        place=ndb.GeoPt(52.5, 13.4),
        days=[dt.date(2020, 1, 1), dt.date(2020, 1, 2)],
        things=[{"a": 1}, [2], "three"],
        point=Point(x=1),
        points=[Point(x=1, y=2), Point(), Point(y=3)],
        address=Address(street="a", phones=["1", "2"], home=Point(y=9)),
        local=Address(street="b", phones=[], home=Point()),
        locals=[Address(street="c"), Address()],
        **more,
    )


def there_and_back(value: Any) -> Any:
    return models._decode_model(models._encode_model(value))


@pytest.mark.parametrize(
    "make",
    [
        full,
        Person,
        lambda: Address(phones=["1"]),
        lambda: Animal(name="a"),
        lambda: Cat(name="c", lives=9),
    ],
)
@pytest.mark.usefixtures("context")
def test_comes_back_equal(make: Any) -> None:
    """A model of any shape comes back equal and of its own class, inside and outside an ndb context."""
    entity = make()
    back = there_and_back(entity)
    assert type(back) is type(entity)
    assert back == entity
    assert back.key is None


@pytest.mark.usefixtures("context")
def test_an_expando_comes_back_equal() -> None:
    """Dynamic properties come back too, also those that Datastore would change: None and naive times."""
    bag = Bag(size=1)
    for name, value in {
        "text": "x",
        "data": b"y",
        "none": None,
        "naive": NAIVE,
        "aware": AWARE,
        "numbers": [1, 2],
        "times": [NAIVE],
        "empty": [],
        "truth": True,
    }.items():
        setattr(bag, name, value)
    back = there_and_back(bag)
    assert type(back) is Bag
    assert back == bag
    assert back.naive.tzinfo is None
    assert models._encode_model(back) == models._encode_model(bag)


def test_keys_are_kept(client: Any) -> None:
    """The key comes back as it was: complete, incomplete, of another project; keys in properties likewise."""
    with client.context():
        keys = [
            ndb.Key("Person", "name"),
            ndb.Key("Person", 5, parent=ndb.Key("Family", 1)),
            ndb.Key("Person", None),
            ndb.Key("Family", 1, "Person", None),
            ndb.Key("Person", 5, namespace="there", app="other", database="db"),
        ]
        friends = [ndb.Key("Person", 1), ndb.Key("Family", "x", "Person", 2)]
        entities = [Person(key=key, friend=friends[0], friends=friends) for key in keys]
        entities.append(Person(locals=[Address(id=3, street="kept"), Address(street="none")]))
    for entity in entities:
        back = there_and_back(entity)
        assert back == entity
        assert back.key == entity.key
    for key in keys:
        back = models._decode_key(models._encode_key(key))
        assert (back, back.namespace(), back.project()) == (key, key.namespace(), key.project())


@pytest.mark.parametrize("make", [full, lambda: Cat(name="c", lives=9), lambda: Bag(size=1)])
def test_reading_changes_no_bytes(make: Any) -> None:
    """What comes back gives the same bytes again, whether its values were read or not: no session is saved for it."""
    entity = make()
    kept = models._encode_model(entity)
    back = models._decode_model(kept)
    assert models._encode_model(back) == kept
    assert back == entity
    back.to_dict()
    assert models._encode_model(back) == kept


def test_changing_changes_the_bytes() -> None:
    """A change in place, even in a model within a model, gives other bytes."""
    entity = full()
    kept = models._encode_model(entity)
    entity.local.home.x = 77
    changed = models._encode_model(entity)
    assert changed != kept
    entity.data["b"].append(1)
    assert models._encode_model(entity) != changed


def test_keeping_does_not_renew_times() -> None:
    """A property with auto_now is not set: the model is kept, not put."""
    assert there_and_back(Person()).changed is None
    assert there_and_back(Person(changed=NAIVE)).changed == NAIVE


def test_the_bytes_are_those_of_datastore() -> None:
    """The format is pinned: what is stored now will be read by later versions, and by later versions of ndb."""
    kept: tuple[str, bytes, dict[str, Any]] = (
        "Cat",
        b"\x1a\x1e\n\x05class\x12\x15J\x13\n\t\x8a\x01\x06Animal\n\x06\x8a\x01\x03Cat"
        b"\x1a\x0b\n\x05lives\x12\x02\x10\t\x1a\x0c\n\x04name\x12\x04\x8a\x01\x01c",
        {},
    )
    assert models._encode_model(Cat(name="c", lives=9)) == kept
    assert models._decode_model(kept) == Cat(name="c", lives=9)


IN_ANOTHER_PROCESS = """
from google.cloud import ndb
from holdall_stores import models
from holdall_stores.datastore import new_client
class Inner(ndb.Model):
    a = ndb.IntegerProperty(); b = ndb.IntegerProperty(); c = ndb.IntegerProperty(); d = ndb.IntegerProperty()
class Outer(ndb.Model):
    local = ndb.LocalStructuredProperty(Inner); nested = ndb.StructuredProperty(Inner)
models.register_models(new_client("test", emulator="127.0.0.1:1"))
print(models._encode_model(Outer(local=Inner(a=1, b=2, c=3, d=4), nested=Inner(a=1, b=2, c=3, d=4))))
"""


def test_all_processes_give_the_same_bytes() -> None:
    """One process may read what another stored without taking it for changed."""
    processes = [subprocess.Popen([sys.executable, "-c", IN_ANOTHER_PROCESS], stdout=subprocess.PIPE) for _ in range(3)]
    outputs = {process.communicate()[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 3
    assert len(outputs) == 1


def projected() -> Point:
    point = Point(x=1)
    point._set_projection(("x",))
    return point


def dynamic(value: object) -> Bag:
    bag = Bag(size=1)
    bag.inner = value
    return bag


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Strict, "must"),
        (projected, "projection"),
        (Pickled, "Pickled.anything"),
        (lambda: HasPickled(inner=Pickled()), "Pickled.anything"),
        (lambda: dynamic(Point(x=1)), "Bag.inner"),
        (lambda: dynamic({"a": 1}), "Bag.inner"),
        (lambda: dynamic({1, 2}), "Bag"),
        (lambda: Point(x=2**70), "Point"),
    ],
)
def test_what_would_not_come_back_is_refused(make: Any, message: str) -> None:
    """What ndb could not give back as it was is refused by name, and its values are not shown."""
    with pytest.raises(UsageError, match=message) as caught:
        models._encode_model(make())
    assert str(2**70) not in str(caught.value)


def test_two_classes_of_one_name_are_refused() -> None:
    """A model whose class ndb would not find by its name is refused, for another class would come back."""

    def define() -> Any:
        class Twin(ndb.Model):  # type: ignore[misc]
            x = ndb.IntegerProperty()

        return Twin

    older, newer = define(), define()
    with pytest.raises(UsageError, match="Twin"):
        models._encode_model(older(x=1))
    assert there_and_back(newer(x=1)) == newer(x=1)


def test_a_running_context_goes_on(client: Any) -> None:
    """The context of the application is used, not replaced, and still runs afterwards."""
    with client.context() as running:
        there_and_back(full())
        assert ndb.get_context() is running
