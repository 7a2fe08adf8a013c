package publicurl_test

import (
	"net"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"headwater/services/internal/publicurl"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	for address, right := range map[string]bool{
		"": true, "http://192.168.1.20:8080": true, "https://headwater.example.org": true, "https://headwater.example.org/": true, "http://[fd00::1]:8080": true,
		"headwater.example.org": false, "ftp://example.org": false, "https://": false, "https://u:p@example.org": false,
		"https://example.org/headwater": false, "https://example.org?x=1": false, "https://example.org#x": false, "http://exa mple": false,
	} {
		if err := publicurl.Check(address); (err == nil) != right {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func TestGuess(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"127.0.0.1:8080": "http://127.0.0.1:8080", "192.168.1.20:80": "http://192.168.1.20:80", "[::1]:8080": "http://[::1]:8080",
		"[::ffff:10.0.0.1]:8080": "http://10.0.0.1:8080",
	} {
		if got := publicurl.Guess(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address)), false); got != want {
			t.Errorf("%s: guessed %s, want %s", address, got, want)
		}
	}
	for _, address := range []string{"0.0.0.0:8080", "[::]:8080"} {
		got := publicurl.Guess(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address)), true)
		u, err := url.Parse(got)
		if err != nil || u.Port() != "8080" {
			t.Fatalf("%s: guessed %s", address, got)
		}
		at, err := netip.ParseAddr(u.Hostname())
		if err != nil || at.IsUnspecified() {
			t.Errorf("%s: guessed %s, which nobody can open", address, got)
		}
		// It is an address of this machine: one can listen on it.
		l, err := net.Listen("tcp", net.JoinHostPort(u.Hostname(), "0"))
		if err != nil {
			t.Fatalf("%s: guessed %s: %v", address, got, err)
		}
		_ = l.Close()
	}
	if got := publicurl.Guess(&net.UnixAddr{Name: "socket"}, false); got != "" {
		t.Errorf("guessed %s of a socket", got)
	}
}

func TestLinks(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 22, 15, 3, 12, 5e8, time.FixedZone("CET", 3600))
	const want = "https://h.example.org/devices/hall%2F1/door%201?at=2026-11-22T14%3A03%3A12.5Z"
	if got := publicurl.Device("https://h.example.org/", "hall/1", "door 1", at); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := publicurl.Alerts("https://h.example.org"); got != "https://h.example.org/alerts" {
		t.Error(got)
	}
	if publicurl.Device("", "a", "b", at)+publicurl.Alerts("") != "" {
		t.Error("links without an address")
	}
}
