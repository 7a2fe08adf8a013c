package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/internal/process"
	"headwater/streams"
	"headwater/streams/natsd"
)

// wall drops packets between one server and the others, by firewall rules in the
// container's own network.
type wall struct {
	*scenario
	pid   int
	rules [][]string
	// standing is the number of rules in force.
	standing int
}

// wall prepares a wall around a server. With outward only, the server hears the others but
// is not heard.
func (s *scenario) wall(ctx context.Context, around server, outward bool) (*wall, error) {
	id, err := s.container(ctx, around.service)
	if err != nil {
		return nil, err
	}
	w := &wall{scenario: s}
	w.pid, err = s.process(ctx, id)
	if err != nil {
		return nil, err
	}
	for _, other := range s.servers {
		if other == around {
			continue
		}
		id, err := s.container(ctx, other.service)
		if err != nil {
			return nil, err
		}
		at, err := s.address(ctx, id)
		if err != nil {
			return nil, err
		}
		w.rules = append(w.rules, []string{"OUTPUT", "--destination", at, "--jump", "DROP"})
		if !outward {
			w.rules = append(w.rules, []string{"INPUT", "--source", at, "--jump", "DROP"})
		}
	}
	return w, nil
}

func (w *wall) change(ctx context.Context, what string, rule []string) error {
	command := append([]string{"nsenter", "--target", strconv.Itoa(w.pid), "--net", "iptables", what}, rule...)
	_, err := w.output(ctx, command...)
	return err
}

func (w *wall) up(ctx context.Context) error {
	for w.standing < len(w.rules) {
		if err := w.change(ctx, "--append", w.rules[w.standing]); err != nil {
			return err
		}
		w.standing++
	}
	return nil
}

func (w *wall) down(ctx context.Context) error {
	for w.standing > 0 {
		if err := w.change(ctx, "--delete", w.rules[w.standing-1]); err != nil {
			return err
		}
		w.standing--
	}
	return nil
}

// flap is how long a flapping link is whole, and how long it is broken.
const flap = time.Second

// stand keeps the wall up until ctx ends. A flapping wall comes and goes.
func (w *wall) stand(ctx context.Context, flaps bool) error {
	begun := context.WithoutCancel(ctx)
	for ctx.Err() == nil {
		if err := w.up(begun); err != nil {
			return err
		}
		if !flaps {
			<-ctx.Done()
			return nil
		}
		process.Sleep(ctx, flap)
		if err := w.down(begun); err != nil {
			return err
		}
		process.Sleep(ctx, flap)
	}
	return nil
}

// leader returns the server that leads the stream of the devices.
func (s *scenario) leader(ctx context.Context) (server, error) {
	nc, err := s.connect(ctx, natsd.UserDevices)
	if err != nil {
		return server{}, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return server{}, err
	}
	for {
		stream, err := js.Stream(ctx, streams.StreamMQTT)
		if err == nil && stream.CachedInfo().Cluster != nil {
			name := stream.CachedInfo().Cluster.Leader
			if i := slices.IndexFunc(s.servers, func(v server) bool { return v.service == name }); i >= 0 {
				return s.servers[i], nil
			}
		}
		if process.Sleep(ctx, time.Second); ctx.Err() != nil {
			return server{}, errors.Join(fmt.Errorf("the stream %s has no leader: %w", streams.StreamMQTT, ctx.Err()), err)
		}
	}
}
