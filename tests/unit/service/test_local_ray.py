"""Which processes belong to a local Ray."""

from service.local_ray import MARK, is_marked


def test_a_process_is_known_by_a_whole_entry_of_its_environment() -> None:
    environment = f"HOME=/root\0{MARK}=/tmp/alexnet-ray-a\0RAY_AUTH_MODE=token\0".encode()
    assert is_marked(environment, "/tmp/alexnet-ray-a")
    assert not is_marked(environment, "/tmp/alexnet-ray")
    assert not is_marked(environment, "/tmp/alexnet-ray-ab")


def test_a_title_written_over_the_beginning_hides_no_process() -> None:
    environment = b"ay::DashboardAgent" + b"\0" * 40 + f"\0{MARK}=/tmp/alexnet-ray-a\0".encode()
    assert is_marked(environment, "/tmp/alexnet-ray-a")
    assert not is_marked(b"", "/tmp/alexnet-ray-a")
