import subprocess
import sys

from service.reconciling.holder import is_gone, new_holder, pid_of

SAY = "from service.reconciling.holder import new_holder; print(new_holder(), flush=True); input()"


def test_a_process_is_gone_when_it_has_ended_and_never_before() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SAY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        holder = process.stdout.readline().strip()
        assert pid_of(holder) == str(process.pid)
        assert not is_gone(holder)
        # Another process has its number now.
        pid, namespace, boot, tick, token = holder.split()
        assert is_gone(f"{pid} {namespace} {boot} {int(tick) - 1} {token}")
        process.kill()
        process.wait()
        assert is_gone(holder)
        # Of another machine, or another container, nothing is known.
        assert not is_gone(f"{pid} {namespace} another-boot {tick} {token}")
        assert not is_gone(f"{pid} pid:[1] {boot} {tick} {token}")
        assert not is_gone("what another release wrote")


def test_two_holders_of_one_process_have_two_names() -> None:
    first, second = new_holder(), new_holder()
    assert first != second
    assert not is_gone(first)
