"""Workers: what they say, what they may take, and what is left when one dies."""

from __future__ import annotations

import os
import queue
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from PIL import Image

from services.common import images
from services.common.errors import ImageError, Reason, UnavailableError
from services.common.settings import MEBIBYTE
from services.gateway.decoders import process
from services.gateway.decoders.limits import DecodeLimits
from services.gateway.decoders.pool import DecoderPool
from tests.gateway.decoders import files

MINUTES_OF_WORK = files.many_scans(4000, 20_000)


@pytest.fixture
def pool() -> Iterator[DecoderPool]:
    """One worker that may take two seconds of processor time."""
    one = DecoderPool(1, DecodeLimits(cpu_seconds=2))
    yield one
    one.close()


def test_says_what_decoding_in_this_process_says(pool: DecoderPool) -> None:
    for format_ in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        data = files.encoded(Image.radial_gradient("L").convert("RGB"), format_)
        facts, decoded = pool.describe(data), images.decode(data)
        assert (facts.pixel_hash, facts.media_type) == (decoded.pixel_hash, decoded.media_type)
        assert (facts.width_pixels, facts.height_pixels) == (256, 256)


def test_refuses_as_decoding_in_this_process_does(pool: DecoderPool) -> None:
    for data in (b"no picture", files.small()[:40], files.png(30_000, 30_000, rows=b"")):
        with pytest.raises(ImageError) as ours:
            images.decode(data)
        with pytest.raises(ImageError) as theirs:
            pool.describe(data)
        assert (theirs.value.reason, theirs.value.message) == (ours.value.reason, ours.value.message)


def test_largest_messages_go_through(pool: DecoderPool) -> None:
    padding = files.encoded(Image.new("RGB", (16, 16)), "BMP")
    assert pool.describe(padding + bytes(images.MAX_BYTES - len(padding))).width_pixels == 16


def test_a_picture_that_takes_too_long_is_refused_and_the_next_is_not(pool: DecoderPool) -> None:
    with pytest.raises(ImageError) as caught:
        pool.describe(MINUTES_OF_WORK)
    assert caught.value.reason is Reason.IMAGE_TOO_COSTLY
    assert "2 s" in caught.value.message
    assert pool.describe(files.small()).width_pixels == 16


def test_processor_time_is_counted_from_picture_to_picture(pool: DecoderPool) -> None:
    picture = files.many_scans(1000, 60)
    pool.start()
    (before,) = pool.pids
    while psutil.Process(before).cpu_times().user < 4.0:
        pool.describe(picture)
    assert pool.pids == [before]


def test_a_picture_that_needs_too_much_memory_is_refused() -> None:
    picture = files.encoded(Image.new("RGB", (5000, 5000), "red"))
    roomy, narrow = DecoderPool(1), DecoderPool(1, DecodeLimits(memory_bytes=400 * MEBIBYTE))
    assert roomy.describe(picture).width_pixels == 5000
    with pytest.raises(ImageError) as caught:
        narrow.describe(picture)
    assert caught.value.reason is Reason.IMAGE_TOO_COSTLY
    assert "400 MiB" in caught.value.message
    assert narrow.describe(files.small()).width_pixels == 16
    roomy.close()
    narrow.close()


def test_a_worker_that_hangs_without_working_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = DecoderPool(1, DecodeLimits(wall_seconds=1.0))
    pool.start()
    (stopped,) = pool.pids
    os.kill(stopped, signal.SIGSTOP)
    with pytest.raises(ImageError) as caught:
        pool.describe(files.small())
    assert caught.value.reason is Reason.IMAGE_TOO_COSTLY
    assert not psutil.pid_exists(stopped)
    # The next one has all the time that a busy machine takes.
    monkeypatch.setattr(pool._all[0], "_limits", DecodeLimits())
    assert pool.describe(files.small()).width_pixels == 16
    pool.close()


def test_a_worker_that_died_before_is_replaced(pool: DecoderPool) -> None:
    pool.start()
    (before,) = pool.pids
    os.kill(before, signal.SIGKILL)
    assert pool.describe(files.small()).width_pixels == 16
    assert pool.pids != [before]


def test_one_death_is_not_the_pictures_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = DecoderPool(1, DecodeLimits(cpu_seconds=60))
    die_at_work(pool, monkeypatch, times=1)
    assert pool.describe(files.many_scans(3000, 60)).width_pixels == 3000
    pool.close()


def test_a_picture_that_kills_two_workers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = DecoderPool(1, DecodeLimits(cpu_seconds=600))
    die_at_work(pool, monkeypatch, times=2)
    with pytest.raises(ImageError) as caught:
        pool.describe(MINUTES_OF_WORK)
    assert caught.value.reason is Reason.IMAGE_TOO_COSTLY
    assert pool.describe(files.small()).width_pixels == 16
    pool.close()


def test_many_threads_share_few_workers() -> None:
    pool = DecoderPool(2)
    pictures = [files.encoded(Image.new("RGB", (16, 8 + number))) for number in range(24)]
    with ThreadPoolExecutor(8) as callers:
        heights = [facts.height_pixels for facts in callers.map(pool.describe, pictures)]
    assert heights == list(range(8, 32))
    assert 1 <= len(pool.pids) <= 2
    pool.close()


def test_closing_ends_what_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = DecoderPool(1, DecodeLimits(cpu_seconds=600))
    sent: queue.Queue[int] = queue.Queue()
    after_sending(monkeypatch, lambda: sent.put(pool.pids[0]))
    with ThreadPoolExecutor(1) as caller:
        answer = caller.submit(pool.describe, MINUTES_OF_WORK)
        worker = sent.get()
        pool.close()
        with pytest.raises(UnavailableError):
            answer.result()
    assert not psutil.pid_exists(worker)
    with pytest.raises(UnavailableError):
        pool.describe(files.small())
    pool.start()
    assert pool.describe(files.small()).width_pixels == 16
    pool.close()


def test_a_worker_gets_no_secrets_and_ends_with_its_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_DATABASE_URL", "postgresql://secret")
    pool = DecoderPool(1)
    pool.start()
    worker = psutil.Process(pool.pids[0])
    assert not any(name.startswith("LIKENESS") for name in worker.environ())
    limits = Path(f"/proc/{worker.pid}/limits").read_text(encoding="utf-8")
    (files_written,) = (line for line in limits.splitlines() if line.startswith("Max file size"))
    assert files_written.split()[3:5] == ["0", "0"]
    # What a gateway that dies leaves behind is a connection without another end.
    connection = pool._all[0]._connection
    assert connection is not None
    connection.close()
    worker.wait(timeout=30)
    pool.close()


def test_without_processes_the_call_fails_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "no-such-python")
    with pytest.raises(UnavailableError) as caught:
        DecoderPool(1).describe(files.small())
    assert "no-such-python" not in caught.value.message


def after_sending(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Does something each time a worker has been sent a picture."""

    def send(connection: socket.socket, data: bytes) -> None:
        real(connection, data)
        act()

    real = process.send
    monkeypatch.setattr(process, "send", send)


def die_at_work(pool: DecoderPool, monkeypatch: pytest.MonkeyPatch, *, times: int) -> None:
    """The first workers that get a picture are killed before they can have decoded it."""
    left = iter(range(times))

    def kill() -> None:
        if next(left, None) is not None:
            os.kill(pool.pids[0], signal.SIGKILL)

    after_sending(monkeypatch, kill)
