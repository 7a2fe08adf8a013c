package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// Where compose.yaml has devices and people connect.
const (
	mqttAddress = "tcp://127.0.0.1:1883"
	pages       = "http://127.0.0.1:8080"
)

// flow bounds how long a reading may take to InfluxDB once all is healthy.
const flow = 30 * time.Second

// scenario is one run of it all.
type scenario struct {
	*project
	within time.Duration
	begin  time.Time
	// sent counts the readings, each with a value of its own.
	sent int
}

// services that have one container each, unless they are scaled.
func everything() map[string]int {
	want := make(map[string]int)
	for _, name := range []string{"nats", "influxdb", "provision", "bridge", "gateway", "processor", "notifier", "writer", "dashboard"} {
		want[name] = 1
	}
	return want
}

func (s *scenario) say(format string, args ...any) {
	fmt.Printf("%6.1fs  %s\n", time.Since(s.begin).Seconds(), fmt.Sprintf(format, args...))
}

func (s *scenario) run(ctx context.Context) error {
	if err := s.do(ctx, "build"); err != nil {
		return err
	}
	s.say("images are built")
	if err := s.scale(ctx); err != nil {
		return err
	}
	if err := s.reading(ctx); err != nil {
		return err
	}
	for _, n := range [][2]int{{4, 3}, {1, 1}} {
		if err := s.scale(ctx, "writer="+strconv.Itoa(n[0]), "processor="+strconv.Itoa(n[1])); err != nil {
			return err
		}
		if err := s.reading(ctx); err != nil {
			return err
		}
	}
	for _, service := range []string{"writer", "processor", "notifier", "bridge", "gateway", "dashboard", "provision", "influxdb", "nats"} {
		if err := s.kill(ctx, service); err != nil {
			return fmt.Errorf("%s was killed: %w", service, err)
		}
	}
	return nil
}

// scale brings everything up, with as many containers as is said for some, and
// waits until all are healthy.
func (s *scenario) scale(ctx context.Context, numbers ...string) error {
	want, arguments := everything(), []string{"up", "--detach"}
	for _, number := range numbers {
		service, n, _ := strings.Cut(number, "=")
		want[service], _ = strconv.Atoi(n)
		arguments = append(arguments, "--scale", number)
	}
	if err := s.do(ctx, arguments...); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	if err := s.await(ctx, want); err != nil {
		return err
	}
	s.say("all healthy %s", strings.Join(numbers, ", "))
	return nil
}

// kill kills the process of a service's container from outside, as a crash would,
// and waits until it is back and readings flow.
func (s *scenario) kill(ctx context.Context, service string) error {
	ids, err := s.containers(ctx, service)
	if err != nil {
		return err
	}
	if len(ids) != 1 {
		return fmt.Errorf("it has %d containers, want 1", len(ids))
	}
	pid, err := s.process(ctx, ids[0])
	if err != nil {
		return err
	}
	if pid <= 1 {
		return errors.New("it has no process")
	}
	// An engine takes "docker kill" for a wish of its user and leaves the container
	// ended.
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill process %d (this needs root on the machine of the engine): %w", pid, err)
	}
	begin := time.Now()
	waiting, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	// Until the engine has seen it, the container counts as healthy.
	for {
		if now, err := s.process(waiting, ids[0]); err != nil {
			return err
		} else if now != pid && now != 0 {
			break
		}
		pause(waiting, 20*time.Millisecond)
	}
	if err := s.await(waiting, everything()); err != nil {
		return err
	}
	s.say("%s was killed; all healthy after %.1f s", service, time.Since(begin).Seconds())
	return s.reading(ctx)
}

// process returns the number of a container's first process; 0 while it has none.
func (s *scenario) process(ctx context.Context, container string) (int, error) {
	text, err := s.output(ctx, "docker", "inspect", "--format", "{{.State.Pid}}", container)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(text)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// reading publishes one reading over MQTT with QoS 1 and waits until it comes
// from InfluxDB through the dashboard.
func (s *scenario) reading(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, flow)
	defer cancel()
	s.sent++
	value, begin := float64(s.sent), time.Now()
	if err := publish(ctx, value); err != nil {
		return err
	}
	acknowledged := time.Since(begin)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		values, err := history(ctx)
		if slices.Contains(values, value) {
			s.say("reading %d: acknowledged after %.2f s, in InfluxDB after %.2f s", s.sent, acknowledged.Seconds(), time.Since(begin).Seconds())
			if len(values) != s.sent {
				return fmt.Errorf("%d readings were acknowledged, %d are in InfluxDB", s.sent, len(values))
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("reading %d is not in InfluxDB within %s", s.sent, flow), err)
		case <-tick.C:
		}
	}
}

// Names of the readings.
const (
	site, device, metric = "compose", "verify", "n"
)

// publish tries until a reading is acknowledged. It has a time of its own, so
// that a repeat counts once.
func publish(ctx context.Context, value float64) error {
	payload := fmt.Sprintf(`{"value":%v,"ts":%d}`, value, time.Now().UnixNano())
	for {
		client := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(mqttAddress).SetClientID(device).SetAutoReconnect(false).
			SetConnectTimeout(5 * time.Second))
		token := client.Connect()
		if token.WaitTimeout(5*time.Second) && token.Error() == nil {
			token = client.Publish(strings.Join([]string{"sensors", site, device, metric}, "/"), 1, false, payload)
			if token.WaitTimeout(5*time.Second) && token.Error() == nil {
				client.Disconnect(100)
				return nil
			}
		}
		client.Disconnect(0)
		pause(ctx, 200*time.Millisecond)
		if ctx.Err() != nil {
			return fmt.Errorf("a reading is not acknowledged: %w", errors.Join(ctx.Err(), token.Error()))
		}
	}
}

// history returns the values that InfluxDB holds, as the dashboard's API tells.
func history(ctx context.Context) ([]float64, error) {
	query := url.Values{"site": {site}, "device": {device}, "metric": {metric}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, pages+"/api/v1/series?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	response, err := (&http.Client{Timeout: 5 * time.Second}).Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	var answer struct {
		Source string    `json:"source"`
		Max    []float64 `json:"max"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the dashboard answers %s: %.200s", response.Status, body)
	}
	// Without InfluxDB the dashboard tells what it has seen itself.
	if answer.Source != "history" {
		return nil, fmt.Errorf("the dashboard has no history: source %q", answer.Source)
	}
	return answer.Max, nil
}

// down removes everything and looks for what is left.
func (s *scenario) down(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	if err := s.do(ctx, "down", "--volumes", "--remove-orphans"); err != nil {
		return err
	}
	left, err := s.leftovers(ctx)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("this is left: %s", strings.Join(left, ", "))
	}
	s.say("all is down and nothing is left")
	return nil
}
