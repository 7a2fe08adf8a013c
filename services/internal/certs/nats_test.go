package certs

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"headwater/services/internal/process"
	"headwater/streams"
	"headwater/streams/natsd"
	"headwater/streams/streamtest"
)

// deployed reads a configuration file of nats-server from deploy/nats, with the
// certificate in its environment.
func deployed(t *testing.T, file string, a *Authority) (options *server.Options, ca string) {
	t.Helper()
	dir := t.TempDir()
	source, err := a.Source(func() (Names, error) { return OfThisMachine() }, Devices{}, quiet, nil)
	if err != nil {
		t.Fatal(err)
	}
	pair := source.current.Load()
	key, err := marshalKey(pair.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	ca = filepath.Join(dir, "ca.crt")
	cfg := FileConfig{Cert: filepath.Join(dir, "crt"), Key: filepath.Join(dir, "key")}
	write(t, cfg, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}), key)
	if err := os.WriteFile(ca, a.PEM, 0o600); err != nil {
		t.Fatal(err)
	}
	issuer, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	public, err := issuer.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		natsd.EnvListen: "127.0.0.1:-1", natsd.EnvMonitor: "127.0.0.1:-1", natsd.EnvMQTT: "127.0.0.1:-1", natsd.EnvName: "one", natsd.EnvCluster: "127.0.0.1:-1",
		natsd.EnvRoutes: `["nats://routes:secret@127.0.0.1:1"]`, natsd.EnvRoutePassword: "secret",
		natsd.EnvStoreDir: filepath.Join(dir, "store"), natsd.EnvMaxStore: "1000000000", natsd.EnvSync: "always", natsd.EnvIssuer: public,
		natsd.EnvCert: cfg.Cert, natsd.EnvKey: cfg.Key, natsd.EnvCA: ca,
	} {
		t.Setenv(name, value)
	}
	for _, u := range natsd.Users() {
		t.Setenv(natsd.EnvPassword(u), "secret-of-"+string(u))
	}
	options, err = server.ProcessConfigFile(filepath.Join("..", "..", "..", "deploy", "nats", file))
	if err != nil {
		t.Fatal(err)
	}
	options.NoSigs, options.NoLog = true, true
	return options, ca
}

// TestServicesConnectWithTLS runs a nats-server with the file that deploy/nats holds, and
// connects as a service does.
func TestServicesConnectWithTLS(t *testing.T) {
	a, _ := newTestAuthority(t, Names{}, time.Now())
	options, ca := deployed(t, "nats-server-tls.conf", a)
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("not ready")
	}
	_, at, _ := strings.Cut(s.ClientURL(), "://")
	user := natsd.UserOf(streams.ServiceWriter)
	if nc, err := nats.Connect("tls://"+at, nats.UserInfo(string(user), "secret-of-"+string(user))); err == nil || !strings.Contains(err.Error(), "authority") {
		if err == nil {
			nc.Close()
		}
		t.Errorf("without the authority: %v", err)
	}
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("secret-of-"+string(user)), 0o600); err != nil {
		t.Fatal(err)
	}
	nc, _, err := process.New("test", process.Defaults[process.Base](), io.Discard).Connect(process.NATSConfig{
		NATS: "tls://" + at, NATSUser: string(user), NATSPassword: password, NATSCA: ca,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	streamtest.Eventually(t, "the service is connected", func() bool { return nc.Status() == nats.CONNECTED })
	if _, err := nc.TLSConnectionState(); err != nil {
		t.Errorf("the connection has no TLS: %v", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.Certificate())
	conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", options.MQTT.Port), &tls.Config{RootCAs: pool})
	if err != nil {
		t.Fatalf("MQTT has no TLS: %v", err)
	}
	_ = conn.Close()
}

func TestServersOfAClusterUseTLS(t *testing.T) {
	a, _ := newTestAuthority(t, Names{}, time.Now())
	options, _ := deployed(t, "nats-cluster-tls.conf", a)
	for name, config := range map[string]*tls.Config{"services": options.TLSConfig, "servers": options.Cluster.TLSConfig, "devices": options.MQTT.TLSConfig} {
		if config == nil {
			t.Errorf("no TLS for %s", name)
		}
	}
	if c := options.Cluster.TLSConfig; c != nil && c.ClientAuth != tls.RequireAndVerifyClientCert {
		t.Errorf("servers check one another: %v", c.ClientAuth)
	}
}
