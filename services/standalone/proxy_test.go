package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// newProxy returns a proxy in front of an address, which runs until the test
// ends and may be stopped and started in between.
func newProxy(tb testing.TB, upstream string) *toxiproxy.Proxy {
	tb.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p := toxiproxy.NewProxy(server, "influxdb", "127.0.0.1:0", upstream)
	if err := p.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.Stop)
	return p
}

// delay delays every response.
func delay(tb testing.TB, p *toxiproxy.Proxy, by time.Duration) {
	tb.Helper()
	toxic := fmt.Sprintf(`{"type":"latency","stream":"downstream","attributes":{"latency":%d}}`, by.Milliseconds())
	if _, err := p.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
		tb.Fatal(err)
	}
}

// swallow closes the connection in place of every response, until heal is called.
func swallow(tb testing.TB, p *toxiproxy.Proxy) (heal func()) {
	tb.Helper()
	toxic, err := p.Toxics.AddToxicJson(strings.NewReader(`{"type":"limit_data","stream":"downstream","attributes":{"bytes":0}}`))
	if err != nil {
		tb.Fatal(err)
	}
	return func() {
		tb.Helper()
		if err := p.Toxics.RemoveToxic(tb.Context(), toxic.Name); err != nil {
			tb.Fatal(err)
		}
	}
}
