// Package publicurl makes the links that notifications carry: where people reach
// the dashboard, and what it shows of one device at one time.
package publicurl

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Check returns what is wrong with the address of a dashboard, which may be empty.
// It is a scheme and a host: pages do not live below a path.
func Check(address string) error {
	if address == "" {
		return nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return fmt.Errorf("--public-url: %q is not like https://headwater.example.org", address)
	}
	if u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("--public-url: %q must end behind the host", address)
	}
	return nil
}

// Guess returns the address under which others reach a dashboard that listens on
// an address: that one or, on all interfaces, the first of this machine in its
// network. It is of this machine alone when there is no other. TLS is what a proxy
// adds, which is not known here.
func Guess(listens net.Addr) string {
	at, err := netip.ParseAddrPort(listens.String())
	if err != nil {
		return ""
	}
	host := at.Addr()
	if host.IsUnspecified() {
		host = ofThisMachine()
	}
	return "http://" + netip.AddrPortFrom(host.Unmap(), at.Port()).String()
}

// ofThisMachine returns the first address in a private network, or in any, IPv4
// before IPv6; that of the loopback when there is none.
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

// Alerts is the page of alerts; empty without an address.
func Alerts(address string) string {
	if address == "" {
		return ""
	}
	return strings.TrimRight(address, "/") + "/alerts"
}

// Device is the page of a device with its charts at a time; empty without an
// address.
func Device(address, site, device string, at time.Time) string {
	if address == "" {
		return ""
	}
	return strings.TrimRight(address, "/") + "/devices/" + url.PathEscape(site) + "/" + url.PathEscape(device) +
		"?" + url.Values{"at": {at.UTC().Format(time.RFC3339Nano)}}.Encode()
}
