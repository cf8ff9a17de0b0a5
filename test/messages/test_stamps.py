from types import SimpleNamespace

from fourd_perception.messages.stamps import from_stamp


def test_a_stamp_is_an_exact_int_of_nanoseconds():
    stamp = from_stamp(SimpleNamespace(sec=1_700_000_000, nanosec=999_999_999))
    assert type(stamp) is int and stamp == 1_700_000_000_999_999_999
