import pytest

from service.terminal.read_settings import WrongSettingError, read_settings


@pytest.mark.parametrize("name", ["ALEXNET_DATA_ROOTS", "ALEXNET_ALLOWED_HOSTS"])
def test_a_list_that_is_no_json_is_named_with_how_to_write_it(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "/data")
    with pytest.raises(WrongSettingError, match=f'^{name}: this is no list; .*"/data"'):
        read_settings()
