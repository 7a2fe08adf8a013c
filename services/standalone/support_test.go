package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"headwater/services/edge"
	"headwater/services/internal/certs"
	"headwater/services/internal/influx"
	"headwater/services/internal/process"
	"headwater/streams"
	"headwater/streams/streamtest"
)

// testConfig is a standalone on free ports in the folder.
func testConfig(dir string) Config {
	cfg := DefaultConfig()
	cfg.Data, cfg.HTTP, cfg.MQTT = dir, "127.0.0.1:0", "127.0.0.1:0"
	cfg.Durability = Fast
	return cfg
}

// start runs a standalone until the test ends, or until stop is called, and
// returns when everything runs.
func start(tb testing.TB, cfg Config) (at Addresses, stop func()) {
	tb.Helper()
	return startIn(tb, newProcess(tb), cfg)
}

// startIn is start with a process of the test's own.
func startIn(tb testing.TB, p *process.Process, cfg Config) (at Addresses, stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	started, done := make(chan Addresses, 1), make(chan error, 1)
	cfg.Started = func(a Addresses) { started <- a }
	go func() { done <- Run(ctx, p, cfg) }()
	stopped := false
	stop = func() {
		tb.Helper()
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("standalone ended with: %v", err)
		}
	}
	tb.Cleanup(stop)
	select {
	case at = <-started:
	case err := <-done:
		stopped = true
		cancel()
		tb.Fatalf("standalone did not start: %v", err)
	case <-time.After(time.Minute):
		_, parts := p.Health.Status()
		tb.Fatalf("standalone is not ready: %+v", parts)
	}
	return at, stop
}

func newProcess(tb testing.TB) *process.Process {
	tb.Helper()
	base := process.Defaults[process.Base]()
	base.LogFormat = "text"
	return process.New("standalone", base, logWriter(tb))
}

// logWriter prints the log of a failed test only.
func logWriter(tb testing.TB) io.Writer {
	tb.Helper()
	file, err := os.Create(filepath.Join(tb.TempDir(), "log"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			text, err := os.ReadFile(file.Name())
			tb.Logf("log of the standalone (%v):\n%s", err, text)
		}
		_ = file.Close()
	})
	return file
}

// device connects as a device does.
func device(tb testing.TB, address, id string) mqtt.Client {
	tb.Helper()
	client := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + address).SetClientID(id).SetConnectTimeout(10 * time.Second))
	token := client.Connect()
	if !token.WaitTimeout(20*time.Second) || token.Error() != nil {
		tb.Fatalf("device %s can't connect: %v", id, token.Error())
	}
	tb.Cleanup(func() { client.Disconnect(0) })
	return client
}

// publish sends one message and waits for the acknowledgement of QoS 1.
func publish(tb testing.TB, client mqtt.Client, topic, payload string) {
	tb.Helper()
	token := client.Publish(topic, 1, false, payload)
	if !token.WaitTimeout(20*time.Second) || token.Error() != nil {
		tb.Fatalf("publish on %s: %v", topic, token.Error())
	}
}

// query asks the InfluxDB of the standalone.
func query(tb testing.TB, url, policy, q string) ([]influx.Series, error) {
	tb.Helper()
	cfg := process.Defaults[influx.Config]()
	cfg.URL = url
	client, err := influx.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	defer client.Close()
	return client.Query(context.WithoutCancel(tb.Context()), cfg.Database, policy, q, nil)
}

// write stores lines of line protocol in InfluxDB itself.
func write(tb testing.TB, url, policy, lines string) {
	tb.Helper()
	cfg := process.Defaults[influx.Config]()
	cfg.URL = url
	client, err := influx.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	defer client.Close()
	if err := client.Write(context.WithoutCancel(tb.Context()), cfg.Database+"/"+policy, lines); err != nil {
		tb.Fatal(err)
	}
}

// getJSON decodes the answer of the API into v.
func getJSON(tb testing.TB, url string, v any) {
	tb.Helper()
	resp, err := http.Get(url)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		tb.Fatalf("GET %s: %s\n%s", url, resp.Status, body)
	}
	if err := json.Unmarshal(body, v); err != nil {
		tb.Fatalf("GET %s: %v\n%s", url, err, body)
	}
}

// childFolder is the environment variable that makes TestMain run a standalone on that
// folder in a child process.
const childFolder = "HEADWATER_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childFolder); dir != "" {
		os.Exit(child(dir))
	}
	os.Exit(streamtest.Main(m))
}

// child runs a standalone and prints its addresses as a line of JSON. It stops
// as the command does when it is asked to.
func child(dir string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	cfg := testConfig(dir)
	cfg.Started = func(at Addresses) { _ = json.NewEncoder(os.Stdout).Encode(at) }
	if d := os.Getenv(childFolder + "_DURABILITY"); d != "" {
		cfg.Durability = streams.Durability(d)
	}
	if front := os.Getenv(childFolder + "_FRONT"); front != "" {
		cfg.Front = front
	}
	if at := os.Getenv(childFolder + "_HTTP"); at != "" {
		cfg.HTTP = at
	}
	if os.Getenv(childFolder+"_TLS") != "" {
		cfg.TLS.Mode = certs.Auto
	}
	cfg.File.Path = os.Getenv(childFolder + "_RULES")
	cfg.Join = os.Getenv(childFolder + "_JOIN")
	cfg.Edge = edge.Config{Every: time.Second, Gather: 100 * time.Millisecond, Compare: time.Second}
	p := process.New("standalone", process.Defaults[process.Base](), os.Stderr)
	if err := Run(ctx, p, cfg); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// startChild runs a standalone as a process of its own.
func startChild(tb testing.TB, dir string, env ...string) (Addresses, *exec.Cmd) {
	tb.Helper()
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(self)
	return startCommand(tb, cmd, dir, env...), cmd
}

// startCommand starts a command that runs this program as startChild does, and
// kills it when the test ends.
func startCommand(tb testing.TB, cmd *exec.Cmd, dir string, env ...string) Addresses {
	tb.Helper()
	cmd.Env = append(append(os.Environ(), childFolder+"="+dir), env...)
	cmd.Stderr = logWriter(tb)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	// Killing a child that does not start ends the wait for its line.
	patience := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer patience.Stop()
	var at Addresses
	if err := json.NewDecoder(stdout).Decode(&at); err != nil {
		tb.Fatalf("standalone did not start within a minute: %v", err)
	}
	return at
}
