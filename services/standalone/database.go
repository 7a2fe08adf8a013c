package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"headwater/services/standalone/influxd"
)

// database is the embedded InfluxDB. It can be restarted on the same address. Any
// number of goroutines may use it.
type database struct {
	mu     sync.Mutex // guards what follows
	cfg    influxd.Config
	server *influxd.Server
}

func openDatabase(ctx context.Context, cfg influxd.Config) (*database, error) {
	server, err := startDatabase(ctx, cfg)
	if err != nil {
		return nil, err
	}
	at, err := url.Parse(server.URL())
	if err != nil {
		return nil, errors.Join(err, server.Close())
	}
	cfg.Addr = at.Host
	return &database{cfg: cfg, server: server}, nil
}

// abandonTimeout is how long startDatabase waits, after ctx has ended, for a start that
// cannot be interrupted.
const abandonTimeout = 5 * time.Second

// startDatabase starts InfluxDB, which may take a while to read its files. It returns
// early when ctx ends.
func startDatabase(ctx context.Context, cfg influxd.Config) (*influxd.Server, error) {
	type outcome struct {
		server *influxd.Server
		err    error
	}
	started := make(chan outcome, 1)
	go func() {
		server, err := influxd.Start(cfg)
		started <- outcome{server, err}
	}()
	select {
	case o := <-started:
		return o.server, o.err
	case <-ctx.Done():
	}
	select {
	case o := <-started:
		if o.err == nil {
			o.err = o.server.Close()
		}
		return nil, errors.Join(ctx.Err(), o.err)
	case <-time.After(abandonTimeout):
		return nil, fmt.Errorf("start InfluxDB: %w", ctx.Err())
	}
}

func (d *database) url() string { return "http://" + d.cfg.Addr }

// urlWithToken returns the address with the token in it.
func (d *database) urlWithToken() string {
	at := url.URL{Scheme: "http", User: url.UserPassword("headwater", d.cfg.Token), Host: d.cfg.Addr}
	return at.String()
}

// health returns nil unless a full disk keeps InfluxDB from storing.
func (d *database) health() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.server == nil {
		return errors.New("it is not running")
	}
	if since := d.server.Full(); !since.IsZero() && time.Since(since) > influxPatience {
		return fmt.Errorf("writes have failed since %s, when the disk was full", since.Format(time.TimeOnly))
	}
	return nil
}

// restart stops InfluxDB and starts it again. After an error it is stopped, and restart
// may be called again.
func (d *database) restart(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	// An error of stop loses nothing: what InfluxDB could not write when it closed is in
	// its write-ahead log.
	closing := d.stop()
	server, err := startDatabase(ctx, d.cfg)
	if err != nil {
		return errors.Join(err, closing)
	}
	d.server = server
	return nil
}

func (d *database) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stop()
}

// stop closes InfluxDB if it is running. The caller holds the lock.
func (d *database) stop() error {
	if d.server == nil {
		return nil
	}
	server := d.server
	d.server = nil
	return server.Close()
}
