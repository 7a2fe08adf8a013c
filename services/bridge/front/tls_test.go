package front

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"io"
	"math/big"
	"net/url"
	"testing"
	"time"
)

// selfSigned returns a certificate that is its own authority.
func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, URIs: []*url.URL{{Scheme: "urn", Opaque: "headwater:device:door-1"}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key, Leaf: leaf}, pool
}

// TestTheCertificateOfAClientReachesLogin has a client with a certificate, and one without
// TLS, which is refused.
func TestTheCertificateOfAClientReachesLogin(t *testing.T) {
	server, d := newFake(t), deps()
	d.Server = server.Addr().String()
	cert, pool := selfSigned(t)
	d.TLS.Config = &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven}
	dial, refused := serve(t, d, time.Minute)
	conn := tls.Client(dial(), &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: pool, ServerName: "localhost"})
	if _, err := conn.Write(connecting(4, "door-1")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	got := server.all()
	_, size, head, err := header(got[0])
	if err != nil {
		t.Fatal(err)
	}
	c, _ := parseConnect(got[0][head : head+size]) // its user is one that only a front may send
	o, err := d.Seal.Open(string(c.user), "door-1")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(cert.Leaf.Raw)
	if o.Host != "192.0.2.7" || o.Certificate.Fingerprint != hex.EncodeToString(sum[:]) || len(o.Certificate.URIs) != 1 || o.Certificate.URIs[0] != "urn:headwater:device:door-1" {
		t.Errorf("origin %+v", o)
	}
	if out := exchange(t, dial(), connecting(4, "door-1")); len(out) > 0 {
		t.Errorf("a client without TLS gets %x", out)
	}
	if r := <-refused; r.Reason != ReasonProtocol {
		t.Errorf("refused for %+v", r)
	}
}
