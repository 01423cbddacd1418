import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from service.webhooks.signing import new_message_id, new_secret, signed_headers


def test_the_signature_is_that_of_the_reference_libraries() -> None:
    # The vector that the libraries of standardwebhooks.com are tested with.
    headers = signed_headers(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        datetime.fromtimestamp(1614265330, UTC),
        b'{"test": 2432232314}',
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@given(body=st.binary(max_size=200), seconds=st.integers(0, 2**31))
def test_whoever_has_the_secret_can_verify_what_is_sent(body: bytes, seconds: int) -> None:
    secret, message_id = new_secret(), new_message_id()
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    headers = signed_headers(secret, message_id, at, body)
    key = base64.b64decode(secret.removeprefix("whsec_"))
    assert 24 <= len(key) <= 64
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    version, _, signature = headers["webhook-signature"].partition(",")
    assert version == "v1"
    assert hmac.new(key, signed, hashlib.sha256).digest() == base64.b64decode(signature)


def test_secrets_and_ids_are_never_the_same_twice() -> None:
    assert len({new_secret() for _ in range(100)} | {new_message_id() for _ in range(100)}) == 200
