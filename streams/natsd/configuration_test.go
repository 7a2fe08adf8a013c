package natsd_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"headwater/streams/natsd"
)

// TestServerFile runs a nats-server with the file that deploy/nats holds: every
// user can log in with the password of the environment, nobody else can.
func TestServerFile(t *testing.T) {
	issuer, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	public, err := issuer.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, value := range map[string]string{
		natsd.EnvListen: "127.0.0.1:-1", natsd.EnvMonitor: "127.0.0.1:-1", natsd.EnvMQTT: "127.0.0.1:-1",
		natsd.EnvStoreDir: dir, natsd.EnvMaxStore: "1000000000", natsd.EnvSync: "always", natsd.EnvIssuer: public,
	} {
		t.Setenv(name, value)
	}
	for _, u := range natsd.Users() {
		t.Setenv(natsd.EnvPassword(u), "secret-of-"+string(u))
	}
	options, err := server.ProcessConfigFile(filepath.Join("..", "..", "deploy", "nats", "nats-server.conf"))
	if err != nil {
		t.Fatal(err)
	}
	if !options.SyncAlways || options.StoreDir != dir || options.JetStreamMaxStore != 1_000_000_000 {
		t.Errorf("sync always %t, store %q of %d bytes", options.SyncAlways, options.StoreDir, options.JetStreamMaxStore)
	}
	options.NoSigs, options.NoLog = true, true
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
	for _, u := range natsd.Users() {
		nc, err := nats.Connect(s.ClientURL(), nats.UserInfo(string(u), "secret-of-"+string(u)))
		if err != nil {
			t.Errorf("user %s: %v", u, err)
			continue
		}
		nc.Close()
	}
	if nc, err := nats.Connect(s.ClientURL(), nats.UserInfo("core", "wrong")); err == nil {
		nc.Close()
		t.Error("a wrong password was taken")
	}
}
