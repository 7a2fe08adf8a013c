package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"headwater/services/internal/process"
	"headwater/services/standalone/bench/load"
)

// kill kills the process of each container in turn from outside, as a crash would. Each
// server of a cluster stays away for a while.
func (s *scenario) kill(ctx context.Context) error {
	for _, service := range s.services() {
		if s.setup == cluster && slices.ContainsFunc(s.servers, func(v server) bool { return v.service == service }) {
			continue
		}
		ids, err := s.containers(ctx, service)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if err := s.crash(ctx, service, id); err != nil {
				return fmt.Errorf("%s was killed: %w", service, err)
			}
		}
	}
	if s.setup != cluster {
		return nil
	}
	for _, server := range s.servers {
		if err := s.lose(ctx, server); err != nil {
			return fmt.Errorf("%s was killed: %w", server.service, err)
		}
	}
	return nil
}

// crash kills the process of a container, and waits until the engine has restarted it and
// readings flow.
func (s *scenario) crash(ctx context.Context, service, id string) error {
	pid, err := s.process(ctx, id)
	if err != nil {
		return err
	}
	if pid <= 1 {
		return errors.New("it has no process")
	}
	// After "docker kill" the engine would not restart the container.
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill process %d (this needs root on the machine of the engine): %w", pid, err)
	}
	if service == "notifier" || service == "nats" {
		s.repeats++
	}
	begin := time.Now()
	waiting, cancel := context.WithTimeout(ctx, s.Within)
	defer cancel()
	// The container counts as healthy until the engine has noticed.
	for {
		if now, err := s.process(waiting, id); err != nil {
			return err
		} else if now != pid && now != 0 {
			break
		}
		process.Sleep(waiting, 20*time.Millisecond)
	}
	if err := s.await(waiting, s.everything()); err != nil {
		return err
	}
	return s.resume(ctx, fmt.Sprintf("%s was killed, all healthy after %.1f s", service, time.Since(begin).Seconds()))
}

// lose kills a server of a cluster, and starts it again when every device and service has
// continued without it.
func (s *scenario) lose(ctx context.Context, lost server) error {
	id, err := s.container(ctx, lost.service)
	if err != nil {
		return err
	}
	moved := s.watch(lost.mqtt)
	if _, err := s.output(ctx, "docker", "kill", id); err != nil {
		return err
	}
	s.repeats++
	begin := moved.now()
	if err := moved.await(ctx, progress); err != nil {
		return err
	}
	s.say("%s was killed; %s", lost.service, moved)
	if err := s.resume(ctx, "without "+lost.service); err != nil {
		return err
	}
	if _, err := s.output(ctx, "docker", "start", id); err != nil {
		return err
	}
	if err := s.healthy(ctx, s.everything()); err != nil {
		return err
	}
	return s.resume(ctx, fmt.Sprintf("%s is back, all healthy %.1f s after the kill", lost.service, time.Since(begin).Seconds()))
}

// empty destroys the disk of a server and checks its new copy:
//
//  1. The server that leads the devices' stream loses its disk, and an empty server takes
//     its place.
//  2. It waits until the new server has copied everything from the others.
//  3. It kills one of the others. What was acknowledged must now be in the new copy.
func (s *scenario) empty(ctx context.Context) error {
	victim, err := s.leader(ctx)
	if err != nil {
		return err
	}
	id, err := s.container(ctx, victim.service)
	if err != nil {
		return err
	}
	disk, err := s.output(ctx, "docker", "inspect", "--format", `{{range .Mounts}}{{if eq .Destination "/data"}}{{.Name}}{{end}}{{end}}`, id)
	if err != nil {
		return err
	}
	s.repeats++
	begin := time.Now()
	for _, command := range [][]string{{"docker", "rm", "--force", id}, {"docker", "volume", "rm", disk}} {
		if _, err := s.output(ctx, command...); err != nil {
			return err
		}
	}
	if err := s.do(ctx, "up", "--detach", "--no-deps", "--no-build", victim.service); err != nil {
		return err
	}
	if err := s.healthy(ctx, s.everything()); err != nil {
		return fmt.Errorf("%s lost its disk: %w", victim.service, err)
	}
	when := fmt.Sprintf("%s lost its disk and took all from the others, all healthy after %.1f s", victim.service, time.Since(begin).Seconds())
	if err := s.resume(ctx, when); err != nil {
		return err
	}
	other := slices.IndexFunc(s.servers, func(v server) bool { return v != victim })
	if err := s.lose(ctx, s.servers[other]); err != nil {
		return fmt.Errorf("%s was killed: %w", s.servers[other].service, err)
	}
	return nil
}

// move measures when each device resumes: when a reading that it reports from now on is
// acknowledged. It distinguishes the devices of a lost server, which need another
// server, from the rest.
type move struct {
	lost        string
	begin       time.Time
	here, there []*load.Device
	devices     int // of the lost server
	// moved and stayed are the durations until the last device of each kind resumed.
	moved, stayed time.Duration
}

// watch prepares a measurement. Lost is the address of the lost server, or empty.
func (s *scenario) watch(lost string) *move {
	m := &move{lost: lost, begin: time.Now()}
	for _, d := range s.load.Devices() {
		if lost != "" && d.At() == lost {
			m.here = append(m.here, d)
		} else {
			m.there = append(m.there, d)
		}
	}
	m.devices = len(m.here)
	return m
}

// now starts the time.
func (m *move) now() time.Time {
	m.begin = time.Now()
	return m.begin
}

// await waits until every device has resumed.
func (m *move) await(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	goesOn := func(d *load.Device) bool { return d.Newest().After(m.begin) }
	for {
		m.here = slices.DeleteFunc(m.here, func(d *load.Device) bool { return goesOn(d) && d.At() != m.lost && d.At() != "" })
		m.there = slices.DeleteFunc(m.there, goesOn)
		if now := time.Since(m.begin); len(m.here) > 0 {
			m.moved = now
		}
		if len(m.there) > 0 {
			m.stayed = time.Since(m.begin)
		}
		if len(m.here)+len(m.there) == 0 {
			return nil
		}
		if process.Sleep(ctx, 20*time.Millisecond); ctx.Err() != nil {
			return fmt.Errorf("%d devices of the lost server and %d of the others do not resume: %w", len(m.here), len(m.there), ctx.Err())
		}
	}
}

func (m *move) String() string {
	if m.lost == "" {
		return fmt.Sprintf("devices resume after %.1f s", m.stayed.Seconds())
	}
	return fmt.Sprintf("its %d devices resume at another server after at most %.1f s, the others after %.1f s",
		m.devices, m.moved.Seconds(), m.stayed.Seconds())
}

// Names of the kinds of cuts, for people.
const (
	apart    = "cut off from the two others"
	deaf     = "not heard by the two others"
	flapping = "cut off and back, 1 s each"
)

// partition disturbs the links between the server that leads the stream of the devices
// and the two others, while services and devices reach all three.
func (s *scenario) partition(ctx context.Context) error {
	for _, kind := range []string{apart, deaf, flapping} {
		if err := s.spoil(ctx, kind); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
	}
	return nil
}

// arrival is how long a reading took to reach the dashboard.
type arrival struct {
	took time.Duration
	err  error
}

// spoil causes one kind of fault, and waits until everything has recovered from it.
func (s *scenario) spoil(ctx context.Context, kind string) error {
	victim, err := s.leader(ctx)
	if err != nil {
		return err
	}
	w, err := s.wall(ctx, victim, kind == deaf)
	if err != nil {
		return err
	}
	defer func() { _ = w.down(context.WithoutCancel(ctx)) }()
	lost := victim.mqtt
	if kind == flapping {
		// No device has to leave it.
		lost = ""
	}
	moved := s.watch(lost)
	if err := w.up(ctx); err != nil {
		return err
	}
	began := moved.now()
	// Each break and each repair of the link may repeat a message.
	s.repeats += 2
	if kind == flapping {
		s.repeats += int(s.Cut / flap)
	}
	spoilt, cancel := context.WithDeadline(ctx, began.Add(s.Cut))
	defer cancel()
	going := make(chan error, 1)
	go func() { going <- moved.await(spoilt, s.Cut) }()
	arrived := make(chan arrival, 1)
	go func() {
		took, err := s.reading(ctx, s.Cut+flow)
		arrived <- arrival{took, err}
	}()
	err = errors.Join(w.stand(spoilt, kind == flapping), w.down(ctx))
	stuck, reading := <-going, <-arrived
	if err := errors.Join(err, reading.err); err != nil {
		return err
	}
	if stuck != nil && kind == apart {
		// The two others suffice to elect leaders and to store.
		return stuck
	}
	issued, acked := s.book.Totals()
	what := moved.String()
	if stuck != nil {
		what = stuck.Error()
	}
	s.say("%s, the leader of the devices' stream, was %s for %s; %s; a reading from its begin is on the dashboard after %.1f s; %d of %d acknowledged",
		victim.service, kind, s.Cut, what, reading.took.Seconds(), acked, issued)
	ended := began.Add(s.Cut)
	if err := s.healthy(ctx, s.everything()); err != nil {
		return err
	}
	return s.resume(ctx, fmt.Sprintf("the link is whole, all healthy after %.1f s", time.Since(ended).Seconds()))
}
