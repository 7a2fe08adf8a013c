package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"headwater/services/standalone/bench/judge"
	"headwater/services/standalone/bench/load"
	"headwater/services/standalone/bench/oracle"
)

// Addresses in compose.yaml for people and batches of readings, and, with
// compose.cluster.yaml, for the devices of each server.
const (
	pages   = "127.0.0.1:8080"
	gateway = "127.0.0.1:8081"
)

// A server is a nats-server: the name of its service, and the address for devices.
type server struct{ service, mqtt string }

var servers = []server{{"nats", "127.0.0.1:1883"}, {"nats-2", "127.0.0.1:1884"}, {"nats-3", "127.0.0.1:1885"}}

const (
	// flow is how long a reading may take to reach InfluxDB when everything is healthy.
	flow = 60 * time.Second
	// progress is how long it may take until every device resumes.
	progress = 60 * time.Second
	// late is the longest time that a late reading is held back.
	late = 20 * time.Second
	// planted is the number of readings for each malformed message.
	planted = 2000
	// drain is how long it may take until everything that was acknowledged is stored and
	// summarised, and people are notified.
	drain = 4 * time.Minute
)

// scenario is one run of one setup.
type scenario struct {
	*project
	*cli
	setup   string
	servers []server
	begin   time.Time
	// upgrade are the files of the working copy while those of another revision are in
	// use.
	upgrade []string

	book  *oracle.Book
	load  *load.Load
	calls judge.Calls
	// repeats is how many messages may come again: one for each fault that can stop the
	// sender between sending and recording.
	repeats int
	// sent counts the readings that are followed to the dashboard.
	sent int
}

func newScenario(c *cli, p *project, setup string) *scenario {
	s := &scenario{project: p, cli: c, setup: setup, servers: servers[:1], begin: time.Now(), book: oracle.NewBook()}
	if setup == cluster {
		s.servers = servers
	}
	return s
}

// everything is the number of containers of each service unless it is scaled.
func (s *scenario) everything() map[string]int {
	want := make(map[string]int)
	for _, name := range []string{"influxdb", "provision", "bridge", "gateway", "processor", "notifier", "writer", "functions", "dashboard"} {
		want[name] = 1
	}
	for _, server := range s.servers {
		want[server.service] = 1
	}
	if s.setup == cluster {
		for _, name := range []string{"bridge", "processor", "notifier", "writer"} {
			want[name] = 2
		}
	}
	return want
}

func (s *scenario) say(format string, args ...any) {
	fmt.Printf("%6.1fs  %s\n", time.Since(s.begin).Seconds(), fmt.Sprintf(format, args...))
}

func (s *scenario) run(ctx context.Context) error {
	if err := s.prepare(ctx); err != nil {
		return err
	}
	unhook, err := s.hook(ctx)
	if err != nil {
		return err
	}
	defer unhook()
	began := time.Now()
	s.load = load.New(load.Config{
		Book: s.book, MQTT: s.mqtt(), Gateway: gateway, Rate: s.Rate, Delay: late, Seed: uint64(began.UnixNano()),
		Plant: planted, Pause: 3 * time.Second,
	})
	loadCtx, give := context.WithCancel(ctx)
	stop, loaded := make(chan struct{}), make(chan struct{})
	go func() { defer close(loaded); s.load.Run(loadCtx, stop) }()
	defer func() { give(); <-loaded }()
	if err := s.resume(ctx, "at the start"); err != nil {
		return err
	}
	steps := []struct {
		name string
		do   func(context.Context) error
	}{{watching, s.metrics}, {scaling, s.scale}, {killing, s.kill}, {replacing, s.replace}, {emptying, s.empty}, {parting, s.partition}}
	for _, step := range steps {
		ofCluster := step.name == emptying || step.name == parting
		if !slices.Contains(s.Steps, step.name) || ofCluster && s.setup == single {
			continue
		}
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	close(stop)
	patience := time.AfterFunc(drain, give)
	<-loaded
	patience.Stop()
	return s.judge(ctx, began)
}

// prepare builds the images and starts everything.
func (s *scenario) prepare(ctx context.Context) error {
	// The services run as another user, who must be able to read it.
	if err := os.Chmod(s.rules, 0o755); err != nil {
		return err
	}
	if err := s.rule(""); err != nil {
		return err
	}
	if err := s.do(ctx, "build"); err != nil {
		return err
	}
	s.say("images are built")
	if err := s.images(ctx); err != nil {
		return err
	}
	if err := s.up(ctx); err != nil {
		return err
	}
	return s.contained(ctx)
}

// rule puts rules in force, with a webhook when there is one.
func (s *scenario) rule(webhook string) error {
	return os.WriteFile(filepath.Join(s.rules, "rules.yaml"), []byte(load.Rules(webhook)), 0o644)
}

// hook starts a webhook for alerts on the network of the project. The returned function
// stops it.
func (s *scenario) hook(ctx context.Context) (unhook func(), err error) {
	at, err := s.output(ctx, "docker", "network", "inspect", "--format", "{{range .IPAM.Config}}{{.Gateway}}{{end}}", s.name+"_headwater")
	if err != nil {
		return nil, err
	}
	sink, err := net.Listen("tcp", net.JoinHostPort(at, "0"))
	if err != nil {
		return nil, fmt.Errorf("listen to the containers: %w", err)
	}
	server := &http.Server{Handler: &s.calls, ReadHeaderTimeout: load.Patience}
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(sink) }()
	return func() { _ = server.Close(); <-served }, s.rule("http://" + sink.Addr().String() + "/")
}

func (s *scenario) mqtt() (addresses []string) {
	for _, server := range s.servers {
		addresses = append(addresses, server.mqtt)
	}
	return addresses
}

// up starts everything, with the given numbers of containers for some services, and waits
// until all are healthy.
func (s *scenario) up(ctx context.Context, numbers ...string) error {
	want, arguments := s.everything(), []string{"up", "--detach"}
	for _, number := range numbers {
		service, n, _ := strings.Cut(number, "=")
		want[service], _ = strconv.Atoi(n)
		arguments = append(arguments, "--scale", number)
	}
	if err := s.do(ctx, arguments...); err != nil {
		return err
	}
	if err := s.healthy(ctx, want); err != nil {
		return err
	}
	s.say("all healthy %s", strings.Join(numbers, ", "))
	return nil
}

func (s *scenario) healthy(ctx context.Context, want map[string]int) error {
	ctx, cancel := context.WithTimeout(ctx, s.Within)
	defer cancel()
	return s.await(ctx, want)
}

// scale adds writers and processors and removes them again.
func (s *scenario) scale(ctx context.Context) error {
	usual := s.everything()
	for _, n := range [][2]int{{4, 3}, {usual["writer"], usual["processor"]}} {
		if err := s.up(ctx, "writer="+strconv.Itoa(n[0]), "processor="+strconv.Itoa(n[1])); err != nil {
			return err
		}
		if err := s.resume(ctx, "scaled"); err != nil {
			return err
		}
	}
	return nil
}

// replace recreates each service's containers, one service after the other, as an upgrade
// does.
func (s *scenario) replace(ctx context.Context) error {
	if s.upgrade != nil {
		s.files, s.upgrade = s.upgrade, nil
		if err := s.do(ctx, "build"); err != nil {
			return err
		}
		s.say("images of the working copy are built, to replace those of %s", s.From)
	}
	for _, service := range s.services() {
		begin := time.Now()
		if err := s.do(ctx, "up", "--detach", "--no-deps", "--no-build", "--force-recreate", service); err != nil {
			return err
		}
		if err := s.healthy(ctx, s.everything()); err != nil {
			return fmt.Errorf("%s was replaced: %w", service, err)
		}
		if err := s.resume(ctx, fmt.Sprintf("%s was replaced, all healthy after %.1f s", service, time.Since(begin).Seconds())); err != nil {
			return err
		}
	}
	return nil
}

// services is the order of upgrades: what others need comes last.
func (s *scenario) services() []string {
	first := []string{"writer", "processor", "notifier", "bridge", "gateway", "dashboard", "provision", "influxdb"}
	for _, server := range s.servers {
		first = append(first, server.service)
	}
	return append(first, "functions")
}

// resume waits until every device has an acknowledgement of a reading that it reports from
// now on, and one more reading has come through InfluxDB to the dashboard.
func (s *scenario) resume(ctx context.Context, when string) error {
	m := s.watch("")
	if err := m.await(ctx, progress); err != nil {
		return fmt.Errorf("%s: %w", when, err)
	}
	took, err := s.reading(ctx, flow)
	if err != nil {
		return fmt.Errorf("%s: %w", when, err)
	}
	issued, acked := s.book.Totals()
	s.say("%s; devices resume after %.1f s, a reading is on the dashboard after %.2f s; %d of %d acknowledged",
		when, m.stayed.Seconds(), took.Seconds(), acked, issued)
	return nil
}

// down removes everything and checks that nothing is left.
func (s *scenario) down(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	if err := s.do(ctx, "--profile", "metrics", "down", "--volumes", "--remove-orphans"); err != nil {
		return err
	}
	left, err := s.leftovers(ctx)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return errors.New("this is left: " + strings.Join(left, ", "))
	}
	s.say("all is down and nothing is left")
	return nil
}
