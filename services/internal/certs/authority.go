package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"headwater/services/internal/process"
	"headwater/streams"
)

// Folder is the folder of the authorities within the data folder.
const Folder = "tls"

const (
	// Names of the files of the two authorities, without their ends.
	machineFile = "ca"
	devicesFile = "devices"
	// authorityYears is how long the authority is valid.
	authorityYears = 10
	// leafDays is how long a certificate of this machine is valid. It is renewed before a
	// third of that is left.
	leafDays = 90
	// early is how long before its making a certificate is valid: the clocks of devices
	// differ.
	early = time.Hour
	// firstYear is earlier than any clock that is right.
	firstYear = 2026
)

// Authority signs certificates. There are two in a data folder. The authority of this
// machine is the one that people and devices trust, so it is limited in what it may sign
// for. Nobody but Headwater trusts the authority of the devices.
type Authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	// PEM is the certificate of the authority.
	PEM []byte
}

// private are the names and networks that mean something only within a network of
// somebody's own. No authority of the public web signs for them.
var (
	privateNames    = []string{"localhost", "local", "lan", "home", "home.arpa", "internal", "localdomain"}
	privateNetworks = []string{
		"127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10", "::1/128", "fc00::/7", "fe80::/10",
	}
)

// OpenAuthority reads the authority of the machine from a data folder. It returns
// fs.ErrNotExist if there is none.
func OpenAuthority(data string) (*Authority, error) { return open(data, machineFile) }

// OpenDeviceAuthority is OpenAuthority for the authority of the devices.
func OpenDeviceAuthority(data string) (*Authority, error) { return open(data, devicesFile) }

func open(data, name string) (*Authority, error) {
	folder := filepath.Join(data, Folder)
	text, err := readLimited(filepath.Join(folder, name+".crt"))
	if err != nil {
		return nil, fmt.Errorf("certificate of the authority: %w", err)
	}
	path := filepath.Join(folder, name+".key")
	secret, err := process.ReadSecret(path)
	if errors.Is(err, fs.ErrNotExist) {
		// This error must not look as if there were no authority at all.
		return nil, fmt.Errorf("the key of the authority is gone: restore %s, or remove %s.crt to get a new authority, which everybody has to trust again", path, name)
	}
	if err != nil {
		return nil, fmt.Errorf("key of the authority: %w", err)
	}
	pair, err := tls.X509KeyPair(text, []byte(secret))
	if err != nil {
		return nil, fmt.Errorf("authority %s in %s: %w", name, folder, err)
	}
	key, canSign := pair.PrivateKey.(crypto.Signer)
	if !canSign || !pair.Leaf.IsCA {
		return nil, fmt.Errorf("authority %s in %s: its certificate is not one of an authority", name, folder)
	}
	return &Authority{cert: pair.Leaf, key: key, PEM: text}, nil
}

// EnsureAuthority reads the authority of the machine from a data folder, or makes one for
// the names.
func EnsureAuthority(data string, names Names, now time.Time) (*Authority, error) {
	return ensure(data, machineFile, now, func() (*x509.Certificate, error) { return limited(names) })
}

// EnsureDeviceAuthority reads the authority of the devices from a data folder, or makes
// one.
func EnsureDeviceAuthority(data string, now time.Time) (*Authority, error) {
	return ensure(data, devicesFile, now, func() (*x509.Certificate, error) {
		return &x509.Certificate{Subject: subject("Headwater devices"), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, nil
	})
}

// ensure reads an authority or makes one from a template.
func ensure(data, name string, now time.Time, template func() (*x509.Certificate, error)) (*Authority, error) {
	a, err := open(data, name)
	if !errors.Is(err, fs.ErrNotExist) {
		return a, err
	}
	if now.Year() < firstYear {
		return nil, fmt.Errorf("the clock of this machine says %s: set it, or the certificates are of no use", now.Format(time.DateOnly))
	}
	t, err := template()
	if err != nil {
		return nil, fmt.Errorf("make an authority: %w", err)
	}
	text, secret, err := selfSigned(t, now)
	if err != nil {
		return nil, fmt.Errorf("make an authority: %w", err)
	}
	folder := filepath.Join(data, Folder)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("keep the authority: %w", err)
	}
	// A key without a certificate is of no use yet, and is replaced at the next start.
	for _, file := range []struct {
		end  string
		text []byte
	}{{".key", secret}, {".crt", text}} {
		if err := replace(filepath.Join(folder, name+file.end), file.text); err != nil {
			return nil, fmt.Errorf("keep the authority: %w", err)
		}
	}
	return open(data, name)
}

// replace writes a file that only its owner may read. After a power cut it is there as a
// whole or not at all.
func replace(path string, text []byte) error {
	unfinished := path + ".new"
	file, err := os.OpenFile(unfinished, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(unfinished, path)
}

// selfSigned signs the certificate of an authority with its own new key.
func selfSigned(template *x509.Certificate, now time.Time) (text, secret []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template.NotBefore, template.NotAfter = now.Add(-early), now.AddDate(authorityYears, 0, 0)
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	secret, err = marshalKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), secret, err
}

// subject names an authority so that a person can tell it from others.
func subject(name string) pkix.Name {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "this machine"
	}
	return pkix.Name{CommonName: name + " on " + host, Organization: []string{"Headwater"}}
}

// limited is an authority that can sign for private names and networks, and for the names
// that are given, but for nobody else: who steals its key cannot pass for a bank in the
// browsers that trust it. The limits are not marked as critical. Browsers, phones and
// OpenSSL obey them all the same, but the small TLS libraries of devices (mbedTLS, BearSSL)
// refuse a certificate whose critical parts they do not know.
func limited(names Names) (*x509.Certificate, error) {
	template := &x509.Certificate{Subject: subject("Headwater"), PermittedDNSDomains: slices.Clone(privateNames)}
	for _, name := range names.DNS {
		if !permits(template.PermittedDNSDomains, name) {
			template.PermittedDNSDomains = append(template.PermittedDNSDomains, name)
		}
	}
	for _, network := range privateNetworks {
		_, prefix, err := net.ParseCIDR(network)
		if err != nil {
			return nil, err
		}
		template.PermittedIPRanges = append(template.PermittedIPRanges, prefix)
	}
	for _, addr := range names.Addresses {
		if !within(template.PermittedIPRanges, addr) {
			template.PermittedIPRanges = append(template.PermittedIPRanges, &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(addr.BitLen(), addr.BitLen())})
		}
	}
	return template, nil
}

func marshalKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

// permits reports whether a name is one of the domains or below one of them.
func permits(domains []string, name string) bool {
	return slices.ContainsFunc(domains, func(d string) bool { return name == d || strings.HasSuffix(name, "."+d) })
}

func within(networks []*net.IPNet, addr netip.Addr) bool {
	return slices.ContainsFunc(networks, func(n *net.IPNet) bool { return n.Contains(addr.AsSlice()) })
}

// Certificate is the certificate of the authority.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// Fingerprint is the SHA-256 of a certificate, as browsers and phones show it.
func Fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(parts, ":")
}

// split returns the names that the authority may sign for, and the others as texts.
func (a *Authority) split(names Names) (may Names, others []string) {
	for _, name := range names.DNS {
		if permits(a.cert.PermittedDNSDomains, name) {
			may.DNS = append(may.DNS, name)
		} else {
			others = append(others, name)
		}
	}
	for _, addr := range names.Addresses {
		if within(a.cert.PermittedIPRanges, addr) {
			may.Addresses = append(may.Addresses, addr)
		} else {
			others = append(others, addr.String())
		}
	}
	return may, others
}

// sign signs a certificate for a new key.
func (a *Authority) sign(template *x509.Certificate, now time.Time, days int) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template.NotBefore = now.Add(-early)
	template.NotAfter = template.NotBefore.AddDate(0, 0, days)
	if end := a.cert.NotAfter; template.NotAfter.After(end) {
		template.NotAfter = end
	}
	template.KeyUsage, template.BasicConstraintsValid = x509.KeyUsageDigitalSignature, true
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}

// Source returns the certificate of this machine. It is renewed before a third of its time
// is left, and when what names returns has changed. Metrics may be nil.
func (a *Authority) Source(names func() (Names, error), devices Devices, log *slog.Logger, metrics prometheus.Registerer) (*Source, error) {
	m := &machine{authority: a, names: names, log: log}
	s := newSource(m.next, devices, log, metrics)
	if err := s.open(time.Now()); err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return s, nil
}

// machine makes the certificates of this machine.
type machine struct {
	authority *Authority
	names     func() (Names, error)
	log       *slog.Logger
	// left are the names that were last logged as left out.
	left string
}

func (m *machine) next(now time.Time, current *x509.Certificate) (*tls.Certificate, error) {
	names, err := m.names()
	if err != nil {
		return nil, err
	}
	may, others := m.authority.split(names)
	if current != nil && fresh(current, now) && covers(current, may) {
		return nil, nil
	}
	if left := strings.Join(others, ", "); left != m.left {
		m.left = left
		if left != "" {
			m.log.Warn("the certificate does not hold for some names of this machine, because its authority was made for others: to change that, remove the folder of the authority while Headwater is stopped; everybody has to trust the new one then",
				"names", left, "folder", Folder)
		}
	}
	template := &x509.Certificate{
		Subject:  pkix.Name{CommonName: LocalName, Organization: []string{"Headwater"}},
		DNSNames: may.DNS, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, addr := range may.Addresses {
		template.IPAddresses = append(template.IPAddresses, addr.AsSlice())
	}
	cert, err := m.authority.sign(template, now, leafDays)
	if err != nil {
		return nil, fmt.Errorf("make the certificate of this machine: %w", err)
	}
	return cert, nil
}

// fresh reports whether a certificate is valid and more than a third of its time is left.
func fresh(cert *x509.Certificate, now time.Time) bool {
	return !now.Before(cert.NotBefore) && cert.NotAfter.Sub(now) > cert.NotAfter.Sub(cert.NotBefore)/3
}

// covers reports whether a certificate has these names and no others.
func covers(cert *x509.Certificate, names Names) bool {
	return slices.Equal(cert.DNSNames, names.DNS) && slices.EqualFunc(cert.IPAddresses, names.Addresses, func(ip net.IP, addr netip.Addr) bool {
		return ip.Equal(addr.AsSlice())
	})
}

// devicePrefix begins the name of a device in its certificate.
const devicePrefix = "headwater:device:"

// DeviceURI is the name of a device in its certificate.
func DeviceURI(site, device string) string { return devicePrefix + site + "/" + device }

// ForDevice makes a certificate with which a device logs in, and its key, both in PEM. It
// belongs to the authority of the devices: names that are no names of the network are
// invalid below one with limits.
func (a *Authority) ForDevice(site, device string, now time.Time, days int) (text, key []byte, err error) {
	if !streams.ValidToken(site) || !streams.ValidToken(device) {
		return nil, nil, fmt.Errorf("%q of site %q cannot name a device: use letters, digits, - and _", device, site)
	}
	uri, err := url.Parse(DeviceURI(site, device))
	if err != nil {
		return nil, nil, fmt.Errorf("name of the device: %w", err)
	}
	cert, err := a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: site + "/" + device}, URIs: []*url.URL{uri}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, now, days)
	if err != nil {
		return nil, nil, fmt.Errorf("make the certificate of the device: %w", err)
	}
	key, err = marshalKey(cert.PrivateKey.(*ecdsa.PrivateKey))
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}), key, err
}
