import pytest

from service.submission.keys_in_work import KeysInWork


def test_a_key_is_in_work_until_its_request_has_ended_however_it_does() -> None:
    keys = KeysInWork()

    def refuse() -> None:
        with keys.holding("a"), keys.holding("b"):
            assert "a" in keys
            assert "b" in keys
            raise ValueError("refused")

    with pytest.raises(ValueError, match="refused"):
        refuse()
    assert "a" not in keys
    assert "b" not in keys
