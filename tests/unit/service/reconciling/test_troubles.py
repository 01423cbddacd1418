from service.reconciling.troubles import Troubles


def test_only_a_change_is_news() -> None:
    troubles = Troubles()
    assert not troubles.is_news("a", None)
    assert troubles.is_news("a", "the disk is full")
    assert not troubles.is_news("a", "the disk is full")
    assert troubles.is_news("b", "the disk is full")
    assert troubles.is_news("a", "the disk is away")
    assert troubles.is_news("a", None)
    assert not troubles.is_news("a", None)
