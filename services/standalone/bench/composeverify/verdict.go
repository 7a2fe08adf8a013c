package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/internal/influx"
	"headwater/services/internal/process"
	"headwater/services/standalone/bench/judge"
	"headwater/services/standalone/bench/oracle"
	"headwater/streams"
	"headwater/streams/natsd"
)

// maxShown bounds how many violations are listed.
const maxShown = 20

// judge lets the oracle compare everything that was acknowledged with what is stored,
// summarised, alerted and in the ledger.
func (s *scenario) judge(ctx context.Context, began time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, drain)
	defer cancel()
	store, err := s.store(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	nc, err := s.connect(ctx, natsd.UserCore)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	j := &judge.Judge{Book: s.book, Load: s.load, Influx: store, JS: js, Dashboard: pages, Begin: began}
	again := 0
	checks := append(j.Checks(), judge.Check{Name: "messages", Check: func(context.Context) (wrong []string, err error) {
		wrong, again = oracle.JudgeCalls(s.load.Episodes(), s.calls.List(), s.repeats)
		return wrong, nil
	}})
	wrong := append(j.Sending(), judge.All(ctx, checks, s.say)...)
	v := j.Verdict
	issued, acked := s.book.Totals()
	s.say("%d readings issued, %d acknowledged, %d stored: %d lost, %d unknown, %d altered, %d twice",
		issued, acked, v.Stored, v.Lost, v.Unknown, v.Altered, v.Twice)
	s.say("%d window summaries, %d alerts, %d messages of which %d came again (%d may), %d connections of devices",
		j.Windows, len(s.load.Episodes()), len(s.calls.List()), again, s.repeats, s.load.Connects())
	for i, w := range wrong {
		if i == maxShown {
			s.say("WRONG: and %d more", len(wrong)-maxShown)
			break
		}
		s.say("WRONG: %s", w)
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%w, %d times", errWrong, len(wrong))
	}
	return nil
}

// secret returns the content of a file in the volume of secrets.
func (s *scenario) secret(ctx context.Context, name string) (string, error) {
	id, err := s.container(ctx, "influxdb")
	if err != nil {
		return "", err
	}
	return s.output(ctx, "docker", "exec", id, "cat", "/secrets/"+name)
}

// store returns a client of InfluxDB, on the network of the project.
func (s *scenario) store(ctx context.Context) (*influx.Client, error) {
	id, err := s.container(ctx, "influxdb")
	if err != nil {
		return nil, err
	}
	at, err := s.address(ctx, id)
	if err != nil {
		return nil, err
	}
	token, err := s.secret(ctx, "influx-token")
	if err != nil {
		return nil, err
	}
	cfg := process.Defaults[influx.Config]()
	cfg.URL, cfg.Token = "http://"+at+":8086", influx.Secret(token)
	return influx.New(cfg)
}

// connect connects to nats-server, on the network of the project.
func (s *scenario) connect(ctx context.Context, user natsd.User) (*nats.Conn, error) {
	password, err := s.secret(ctx, strings.TrimPrefix(string(user), streams.UserPrefix))
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, server := range s.servers {
		id, err := s.container(ctx, server.service)
		if err != nil {
			return nil, err
		}
		at, err := s.address(ctx, id)
		if err != nil {
			return nil, err
		}
		nc, err := nats.Connect("nats://"+at+":4222", nats.UserInfo(string(user), password), nats.MaxReconnects(-1))
		if err == nil {
			return nc, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("connect to nats-server: %w", errors.Join(errs...))
}
