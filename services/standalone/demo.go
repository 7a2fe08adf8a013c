package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"headwater/proto/figure"
	"headwater/services/internal/audit"
	"headwater/services/internal/configstore"
	"headwater/services/internal/influx"
	"headwater/services/simulator"
	"headwater/streams"
)

// errNotEmpty is returned for --demo on a folder with real devices.
var errNotEmpty = errors.New("--demo needs an empty data folder: name a new one with --data")

// settleDemo decides whether the demo runs: it does with --demo, or if the data folder
// remembers one. --demo adds its rules. --no-demo removes its devices, and those of its
// rules that nobody changed.
func (s *standalone) settleDemo(ctx context.Context, js jetstream.JetStream) (err error) {
	s.demo, err = s.folder.demo()
	if err != nil {
		return err
	}
	asked := s.cfg.Demo
	if asked == nil || *asked == (s.demo != nil) {
		return nil
	}
	bucket, err := js.KeyValue(ctx, streams.BucketDevices)
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", streams.BucketDevices, err)
	}
	keys, err := bucket.Keys(ctx)
	if err != nil && !errors.Is(err, jetstream.ErrNoKeysFound) {
		return fmt.Errorf("list the devices: %w", err)
	}
	removed := 0
	for _, key := range keys {
		ofDemo := strings.HasPrefix(key, simulator.DemoSite+".")
		switch {
		case *asked && !ofDemo:
			return errNotEmpty
		case !*asked && ofDemo:
			if err := bucket.Purge(ctx, key); err != nil {
				return fmt.Errorf("remove device %s of the demo: %w", key, err)
			}
			removed++
		}
	}
	store, err := configstore.Open(ctx, js)
	if err != nil {
		return err
	}
	var began *demoState
	entry := audit.Entry{Who: "--demo", Action: audit.DemoAdd, Object: simulator.DemoSite}
	if !*asked {
		if err := store.RemoveDemo(ctx); err != nil {
			return fmt.Errorf("remove the rules of the demo: %w", err)
		}
		if err := forgetPastAlerts(ctx, js); err != nil {
			return fmt.Errorf("remove the past alerts of the demo: %w", err)
		}
		entry = audit.Entry{Who: "--no-demo", Action: audit.DemoRemove, Object: simulator.DemoSite, Detail: figure.Plural(removed, "device", "devices") + " removed"}
	} else {
		if err := store.AddDemo(ctx); err != nil {
			return fmt.Errorf("add the rules of the demo: %w", err)
		}
		began = &demoState{Began: time.Now().UTC().Truncate(time.Second)}
		if err := s.folder.setDemo(began); err != nil {
			return fmt.Errorf("remember the demo in the data folder: %w", err)
		}
	}
	metrics := prometheus.WrapRegistererWith(prometheus.Labels{"service": "standalone"}, s.process.Metrics)
	audit.New(js, streams.ServiceProvision, s.log("demo"), metrics).Write(ctx, entry)
	s.demo, s.endDemo = began, !*asked
	return nil
}

// forgetDemo removes the history of the demo's devices and then the mark of the demo.
// In this order the next start retries what failed.
func (s *standalone) forgetDemo(ctx context.Context) error {
	if !s.endDemo {
		return nil
	}
	client, err := influx.New(s.cfg.Writer.Influx)
	if err != nil {
		return err
	}
	defer client.Close()
	err = client.Exec(ctx, client.Database(), `DROP SERIES FROM /.*/ WHERE "site" = $site`, influx.Params{"site": simulator.DemoSite})
	if err != nil && s.influx == nil {
		// InfluxDB 2 and 3 do not support this statement.
		s.process.Log.Warn("InfluxDB keeps the history of the demo's devices until its retention ends", "err", err)
	} else if err != nil {
		return fmt.Errorf("remove the history of the demo: %w", err)
	}
	return s.folder.setDemo(nil)
}
