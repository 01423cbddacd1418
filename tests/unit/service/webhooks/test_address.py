import ipaddress
import json
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from service.webhooks.address import AddressRefusedError, check_addresses, parse_url

HTTPS = parse_url("https://hooks.example.org/a?b=c")
LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
PUBLIC = ip_address("93.184.216.34")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "168.63.129.16",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        # Teredo, of the client 127.0.0.1.
        "2001:0:4136:e378:8000:63bf:80ff:fffe",
        # Old, of local use, or translated.
        "fec0::1",
        "64:ff9b:1::7f00:1",
        "::7f00:1",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
        "5f00::1",
        "3fff::1",
        # ISATAP.
        "2000::5efe:7f00:1",
        "2606:2800:220:1:200:5efe:7f00:1",
    ],
)
def test_nothing_is_sent_into_the_services_own_network(address: str) -> None:
    with pytest.raises(AddressRefusedError, match="ALEXNET_WEBHOOK_NETWORKS"):
        check_addresses(HTTPS, [ip_address(address)], ())
    # Nor where a name has a public address besides.
    with pytest.raises(AddressRefusedError):
        check_addresses(HTTPS, [PUBLIC, ip_address(address)], ())


@given(address=st.ip_addresses(v=6))
def test_of_ipv6_what_is_given_to_anybody_alone_is_sent_to(address: IPv6Address) -> None:
    wrapping = ("2000::/3", "64:ff9b::/96", "::ffff:0:0/96")
    assume(not any(address in ipaddress.ip_network(network) for network in wrapping))
    with pytest.raises(AddressRefusedError):
        check_addresses(HTTPS, [address], ())


@given(inner=st.ip_addresses(v=4))
def test_an_address_of_ipv4_is_the_same_in_whatever_it_is_wrapped(inner: IPv4Address) -> None:
    def is_refused(address: IPv4Address | IPv6Address) -> bool:
        try:
            check_addresses(HTTPS, [address], ())
        except AddressRefusedError:
            return True
        return False

    number = int(inner)
    wrapped = (
        IPv6Address((0xFFFF << 32) | number),
        IPv6Address((0x64FF9B << 96) | number),
        IPv6Address((0x2002 << 112) | (number << 80)),
    )
    assert {is_refused(one) for one in wrapped} == {is_refused(inner)}


def test_the_refusal_says_what_would_allow_it() -> None:
    with pytest.raises(AddressRefusedError) as refused:
        check_addresses(parse_url("http://localhost:9000"), [ip_address("127.0.0.1")], ())
    named = str(refused.value).partition("ALEXNET_WEBHOOK_NETWORKS='")[2].partition("'")[0]
    allowed = [ipaddress.ip_network(one) for one in json.loads(named)]
    check_addresses(parse_url("http://localhost:9000"), [ip_address("127.0.0.1")], allowed)


def test_public_addresses_are_sent_to_by_https_alone() -> None:
    check_addresses(HTTPS, [PUBLIC, ip_address("2606:2800:220:1::1")], ())
    with pytest.raises(AddressRefusedError, match="use https"):
        check_addresses(parse_url("http://hooks.example.org"), [PUBLIC], ())


def test_allowed_networks_are_sent_to_and_those_of_loopback_by_http_too() -> None:
    http = parse_url("http://127.0.0.1:9000/hook")
    check_addresses(http, [ip_address("127.0.0.1")], [LOOPBACK])
    private = ipaddress.ip_network("10.0.0.0/8")
    check_addresses(HTTPS, [ip_address("10.1.2.3")], [private])
    with pytest.raises(AddressRefusedError, match="can be read on its way; use https"):
        check_addresses(http, [ip_address("10.1.2.3")], [private])
    with pytest.raises(AddressRefusedError):
        check_addresses(HTTPS, [ip_address("11.1.2.3"), ip_address("127.0.0.1")], [private])


def test_a_url_is_taken_apart() -> None:
    target = parse_url("https://Hooks.example.org:8443/a/b?c=d&e")
    assert (target.host, target.port, target.path) == ("hooks.example.org", 8443, "/a/b?c=d&e")
    assert target.netloc == "hooks.example.org:8443"
    assert HTTPS.netloc == "hooks.example.org"
    assert target.url_at(ip_address("1.2.3.4")) == "https://1.2.3.4:8443/a/b?c=d&e"
    six = parse_url("http://[::1]:9000")
    assert (six.host, six.path, six.netloc) == ("::1", "/", "[::1]:9000")
    assert six.url_at(ip_address("::1")) == "http://[::1]:9000/"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "https://HOST/PATH"),
        ("hooks.example.org", "https://HOST/PATH"),
        ("ftp://hooks.example.org", "https://HOST/PATH"),
        ("file:///etc/passwd", "https://HOST/PATH"),
        ("https://", "https://HOST/PATH"),
        ("https://me:secret@example.org", "leave them out"),
        ("https://example.org/#part", "never sent"),
        ("https://example.org:0", "no port 0"),
        ("https://example.org:99999", "no URL"),
        ("https://[::1", "no URL"),
        ("https://example.org/\r\nHost: other", "ASCII"),
        ("https://exämple.org", "ASCII"),
        ("https://example.org/ a", "ASCII"),
        ("https://example.org/" + "a" * 2000, "at most 2000"),
    ],
)
def test_what_is_no_url_to_send_to_is_refused_with_the_mend(url: str, why: str) -> None:
    with pytest.raises(AddressRefusedError, match=why):
        parse_url(url)
