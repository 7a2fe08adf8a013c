package streamtest

import (
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"headwater/streams"
	"headwater/streams/natsd"
	"headwater/streams/streamtest/ports"
)

// ClusterSize is the number of servers of a Cluster.
const ClusterSize = 3

// serverFile is the environment variable with the configuration file of a process that Main
// turns into a server of a cluster.
const serverFile = "HEADWATER_TEST_NATS_SERVER"

// Main runs the tests of a package, or a server of one of its clusters. TestMain of a
// package that uses RunCluster calls it first.
func Main(m *testing.M) int {
	path := os.Getenv(serverFile)
	if path == "" {
		return m.Run()
	}
	if err := serve(path); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// serve runs a server until it is killed or the process that started it ends.
func serve(path string) error {
	options, err := server.ProcessConfigFile(path)
	if err != nil {
		return err
	}
	options.NoSigs, options.LogFile = true, filepath.Join(options.StoreDir, "log")
	s, err := server.NewServer(options)
	if err != nil {
		return err
	}
	s.ConfigureLogger()
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// Cluster is three nats-servers of one test. Each is a process with the configuration file
// of deploy/nats, so that it can be killed.
type Cluster struct {
	tb      testing.TB
	file    string
	keys    nkeys.KeyPair
	env     []string
	members [ClusterSize]member
}

type member struct {
	env                 []string
	dir                 string
	client, mqtt, route string
	process             *exec.Cmd
}

// RunCluster starts a cluster that stops with the test. It returns when the cluster can
// store.
func RunCluster(tb testing.TB, sync natsd.Sync) *Cluster {
	tb.Helper()
	c := &Cluster{tb: tb, file: filepath.Join(tb.TempDir(), "nats-cluster.conf")}
	text, err := natsd.ClusterFile(false)
	if err == nil {
		err = os.WriteFile(c.file, []byte(text), 0o600)
	}
	if err == nil {
		c.keys, err = nkeys.CreateAccount()
	}
	if err != nil {
		tb.Fatal(err)
	}
	c.configure(sync)
	for i := range c.members {
		c.Start(i)
	}
	c.awaitLeader()
	return c
}

// configure gives every server its addresses and the environment of its file.
func (c *Cluster) configure(sync natsd.Sync) {
	c.tb.Helper()
	issuer, err := c.keys.PublicKey()
	if err != nil {
		c.tb.Fatal(err)
	}
	secret := rand.Text()
	addresses, err := ports.Reserve(3 * ClusterSize)
	if err != nil {
		c.tb.Fatal(err)
	}
	routes := make([]string, ClusterSize)
	for i := range c.members {
		m := &c.members[i]
		m.client, m.mqtt, m.route = addresses[3*i], addresses[3*i+1], addresses[3*i+2]
		m.dir = c.tb.TempDir()
		routes[i] = fmt.Sprintf("%q", fmt.Sprintf("nats://%s:%s@%s", natsd.RouteUser, secret, m.route))
	}
	c.env = append(os.Environ(), serverFile+"="+c.file,
		natsd.EnvMonitor+"=127.0.0.1:-1", natsd.EnvMaxStore+"=4000000000", natsd.EnvSync+"="+string(sync), natsd.EnvIssuer+"="+issuer,
		natsd.EnvRoutePassword+"="+secret, natsd.EnvRoutes+"=["+strings.Join(routes, ",")+"]")
	for _, u := range natsd.Users() {
		c.env = append(c.env, natsd.EnvPassword(u)+"="+password(u))
	}
	for i := range c.members {
		m := &c.members[i]
		m.env = append(slices.Clip(c.env), natsd.EnvName+"="+name(i), natsd.EnvStoreDir+"="+m.dir,
			natsd.EnvListen+"="+m.client, natsd.EnvMQTT+"="+m.mqtt, natsd.EnvCluster+"="+m.route)
	}
}

// password is not used outside of the test.
func password(u natsd.User) string { return "secret-of-" + string(u) }

// Start starts a server, from 0, for the first time or after Kill.
func (c *Cluster) Start(i int) {
	c.tb.Helper()
	self, err := os.Executable()
	if err != nil {
		c.tb.Fatal(err)
	}
	m := &c.members[i]
	cmd := exec.Command(self)
	cmd.Env, cmd.Stderr = m.env, os.Stderr
	// The server ends with its standard input, and so with this process.
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		c.tb.Fatal(err)
	}
	m.process = cmd
	c.tb.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if c.tb.Failed() {
			c.tb.Logf("log of %s: %s", name(i), tail(filepath.Join(m.dir, "log")))
		}
	})
}

// tail returns the end of a file.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-8000):])
}

// Kill ends a server as kill -9 does.
func (c *Cluster) Kill(i int) {
	c.tb.Helper()
	if err := c.members[i].process.Process.Kill(); err != nil {
		c.tb.Fatal(err)
	}
	_ = c.members[i].process.Wait()
}

// MQTT is the address on which devices connect to each server.
func (c *Cluster) MQTT() (addresses [ClusterSize]string) {
	for i, m := range c.members {
		addresses[i] = m.mqtt
	}
	return addresses
}

// IssuerSeed is the seed of the key that signs answers to the auth callout.
func (c *Cluster) IssuerSeed() ([]byte, error) { return c.keys.Seed() }

// Conn connects to any of the servers as the user; the connection closes with
// the test.
func (c *Cluster) Conn(tb testing.TB, user natsd.User, options ...nats.Option) *nats.Conn {
	tb.Helper()
	var urls []string
	for _, m := range c.members {
		urls = append(urls, "nats://"+m.client)
	}
	options = append([]nats.Option{
		nats.UserInfo(string(user), password(user)), natsd.Inbox(user), nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1), nats.ReconnectWait(100 * time.Millisecond),
	}, options...)
	nc, err := nats.Connect(strings.Join(urls, ","), options...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	return nc
}

// JS is JetStream as the user.
func (c *Cluster) JS(tb testing.TB, user natsd.User) jetstream.JetStream {
	tb.Helper()
	return jetStream(tb, c.Conn(tb, user))
}

// awaitLeader returns when the servers have elected a leader.
func (c *Cluster) awaitLeader() {
	c.tb.Helper()
	js := c.JS(c.tb, natsd.UserCore)
	Eventually(c.tb, "the cluster has a leader", func() bool {
		_, err := js.AccountInfo(c.tb.Context())
		return err == nil
	})
}

// Ensure makes the streams of both accounts, replicated.
func (c *Cluster) Ensure(tb testing.TB) streams.Topology {
	tb.Helper()
	topology, err := streams.Ensure(tb.Context(), c.JS(tb, natsd.UserCore), streams.Options{Durability: streams.Replicated, MaxBytes: 1 << 30})
	if err != nil {
		tb.Fatal(err)
	}
	err = streams.EnsureDevices(tb.Context(), c.JS(tb, natsd.UserDevices), streams.DeviceOptions{Durability: streams.Replicated, MaxBytes: 64 << 20})
	if err != nil {
		tb.Fatal(err)
	}
	return topology
}

// Leader returns which server leads a stream, from 0.
func (c *Cluster) Leader(tb testing.TB, user natsd.User, stream string) int {
	tb.Helper()
	s, err := c.JS(tb, user).Stream(tb.Context(), stream)
	if err != nil {
		tb.Fatal(err)
	}
	leader := s.CachedInfo().Cluster.Leader
	for i := range c.members {
		if leader == name(i) {
			return i
		}
	}
	tb.Fatalf("stream %s is led by %q", stream, leader)
	return 0
}

// name is the name of a server, from 0.
func name(i int) string { return fmt.Sprintf("nats-%d", i+1) }

// AwaitCopies waits until every copy of every stream is up to date, so that another server
// may be lost.
func (c *Cluster) AwaitCopies(tb testing.TB) {
	tb.Helper()
	accounts := []jetstream.JetStream{c.JS(tb, natsd.UserCore), c.JS(tb, natsd.UserDevices)}
	Eventually(tb, "every copy is up to date", func() bool {
		for _, js := range accounts {
			all := js.ListStreams(tb.Context())
			for info := range all.Info() {
				if !current(info.Cluster) {
					return false
				}
			}
			if all.Err() != nil {
				return false
			}
		}
		return true
	})
}

func current(cluster *jetstream.ClusterInfo) bool {
	if cluster == nil || cluster.Leader == "" || len(cluster.Replicas) != ClusterSize-1 {
		return false
	}
	for _, r := range cluster.Replicas {
		if !r.Current || r.Offline {
			return false
		}
	}
	return true
}
