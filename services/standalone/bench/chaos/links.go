//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// links are the connections that faults can hit.
type links struct {
	nats, influx *toxiproxy.Proxy
}

// newLinks starts proxies between the bridges and nats-server, and between the writers
// and InfluxDB.
func newLinks(nats, influx string) (*links, error) {
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	l := &links{
		nats:   toxiproxy.NewProxy(server, "nats", "127.0.0.1:0", nats),
		influx: toxiproxy.NewProxy(server, "influx", "127.0.0.1:0", influx),
	}
	for _, p := range []*toxiproxy.Proxy{l.nats, l.influx} {
		if err := p.Start(); err != nil {
			l.close()
			return nil, fmt.Errorf("start a proxy: %w", err)
		}
	}
	return l, nil
}

func (l *links) close() {
	l.nats.Stop()
	l.influx.Stop()
}

// poison adds a toxic to the responses of InfluxDB. The returned function removes it.
func (l *links) poison(kind string, attributes map[string]int) (func(), error) {
	text, err := json.Marshal(map[string]any{"name": kind, "type": kind, "stream": "downstream", "attributes": attributes})
	if err != nil {
		return nil, err
	}
	if _, err := l.influx.Toxics.AddToxicJson(bytes.NewReader(text)); err != nil {
		return nil, fmt.Errorf("hit the link to InfluxDB: %w", err)
	}
	return func() { _ = l.influx.Toxics.RemoveToxic(context.Background(), kind) }, nil
}
