package certs

import (
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// Names are what a machine is reached under.
type Names struct {
	DNS       []string
	Addresses []netip.Addr
}

// LocalName is the name that this machine can have on the local network, by multicast DNS.
const LocalName = "headwater.local"

// maxNames bounds the addresses, and the names, of one certificate.
const maxNames = 100

// OfThisMachine returns the names and addresses of this machine, together with further
// ones, sorted.
func OfThisMachine(further ...string) (Names, error) {
	n := Names{DNS: []string{"localhost", LocalName}, Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}}
	if host, err := os.Hostname(); err == nil && host != "" {
		host = strings.ToLower(strings.TrimSuffix(host, "."))
		short, _, _ := strings.Cut(host, ".")
		n.DNS = append(n.DNS, host, short, short+".local")
	}
	for _, name := range further {
		if addr, err := netip.ParseAddr(name); err == nil {
			n.Addresses = append(n.Addresses, addr.Unmap())
		} else if name != "" {
			n.DNS = append(n.DNS, strings.ToLower(strings.TrimSuffix(name, ".")))
		}
	}
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		return Names{}, fmt.Errorf("addresses of this machine: %w", err)
	}
	for _, a := range interfaces {
		prefix, err := netip.ParsePrefix(a.String())
		// A link-local address of IPv6 has a zone, with which no URL works.
		if err != nil || prefix.Addr().IsMulticast() || prefix.Addr().Is6() && prefix.Addr().IsLinkLocalUnicast() {
			continue
		}
		n.Addresses = append(n.Addresses, prefix.Addr().Unmap())
	}
	slices.Sort(n.DNS)
	slices.SortFunc(n.Addresses, netip.Addr.Compare)
	n.DNS = slices.Compact(n.DNS)
	n.Addresses = slices.Compact(n.Addresses)
	n.DNS = n.DNS[:min(len(n.DNS), maxNames)]
	n.Addresses = n.Addresses[:min(len(n.Addresses), maxNames)]
	return n, nil
}

// Describe lists the names and addresses of a certificate.
func Describe(cert *x509.Certificate) string {
	all := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		all = append(all, ip.String())
	}
	for _, uri := range cert.URIs {
		all = append(all, uri.String())
	}
	return strings.Join(all, ", ")
}
