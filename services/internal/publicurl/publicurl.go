// Package publicurl builds the links in notifications: the address of the
// dashboard, and its page of one device at one time.
package publicurl

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Check returns what is wrong with the address of a dashboard, which may be
// empty. An address is a scheme and a host: pages are not served below a path.
func Check(address string) error {
	if address == "" {
		return nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return fmt.Errorf("--public-url: %q is not like https://headwater.example.org", address)
	}
	if u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("--public-url: %q must end after the host", address)
	}
	return nil
}

// Guess returns the address at which others reach a dashboard that listens on
// an address: that address or, if it listens on all interfaces, the first
// address of this machine in its network. Without a network only this machine
// can reach it. TLS that a proxy adds is unknown here.
func Guess(listens net.Addr, secure bool) string {
	at, err := netip.ParseAddrPort(listens.String())
	if err != nil {
		return ""
	}
	host := at.Addr()
	if host.IsUnspecified() {
		host = ofThisMachine()
	}
	scheme := "http://"
	if secure {
		scheme = "https://"
	}
	return scheme + netip.AddrPortFrom(host.Unmap(), at.Port()).String()
}

// ofThisMachine returns the first address in a private network, or in any
// network, IPv4 before IPv6; without one, the loopback address.
func ofThisMachine() netip.Addr {
	best, rank := netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return best
	}
	for _, a := range addresses {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil || !prefix.Addr().IsGlobalUnicast() {
			continue
		}
		at := prefix.Addr()
		r := 1
		if at.Is4() {
			r += 2
		}
		if at.IsPrivate() {
			r++
		}
		if r > rank {
			best, rank = at, r
		}
	}
	return best
}

// Alerts returns the page of alerts; empty without an address.
func Alerts(address string) string {
	if address == "" {
		return ""
	}
	return strings.TrimRight(address, "/") + "/alerts"
}

// Pipeline returns the page about Headwater itself; empty without an address.
func Pipeline(address string) string {
	if address == "" {
		return ""
	}
	return strings.TrimRight(address, "/") + "/pipeline"
}

// Device returns the page of a device with its charts at a time; empty without
// an address.
func Device(address, site, device string, at time.Time) string {
	if address == "" {
		return ""
	}
	return strings.TrimRight(address, "/") + "/devices/" + url.PathEscape(site) + "/" + url.PathEscape(device) +
		"?" + url.Values{"at": {at.UTC().Format(time.RFC3339Nano)}}.Encode()
}
