package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"

	"headwater/services/dashboard"
	"headwater/services/internal/certs"
	"headwater/services/internal/process"
)

type config struct {
	process.AdminConfig   `embed:""`
	process.NATSConfig    `embed:""`
	process.DevicesConfig `embed:""`
	process.HostConfig    `embed:""`
	certs.FileConfig      `embed:""`
	HTTP                  string           `name:"http" help:"Address of the pages and of /api/v1." default:"127.0.0.1:8080"`
	PublicURL             string           `name:"public-url" help:"Where people reach the dashboard, like https://headwater.example.org." placeholder:"URL"`
	Service               dashboard.Config `embed:""`
}

// guard sets what other machines may do that reach the address. It returns an error if the
// mode does not permit it.
func (cfg *config) guard(ctx context.Context, p *process.Process, address string, deps dashboard.Deps) error {
	cfg.Service.RequireLogIn = cfg.Mode == process.ModeProduction
	if !process.Exposed(address) {
		return nil
	}
	cfg.Service.Exposed = process.Reach(address)
	if cfg.Mode == process.ModeProduction && !cfg.On() && !strings.HasPrefix(cfg.PublicURL, "https://") {
		return cfg.Refuse(p.Log, process.Danger{
			What: "people at other machines would send their passwords unencrypted (--http " + address + ")",
			Do:   "name a certificate with --tls-cert and --tls-key; or put a proxy with TLS in front and name it with --public-url https://NAME; or let --http be 127.0.0.1:8080",
		})
	}
	if !dashboard.LogInRequired(ctx, cfg.Service, deps.JS) {
		process.WarnExposed(p.Log, process.Open{What: "the dashboard and its API", Address: address})
	}
	return nil
}

// connect fills deps. It returns the connections to close even with an error. Without a
// password of the devices' account, the dashboard shows that part as unknown.
func (cfg config) connect(p *process.Process, deps *dashboard.Deps) ([]*nats.Conn, error) {
	var connections []*nats.Conn
	if cfg.DevicesPassword != "" {
		// The connection of the services comes first, because readiness depends on it.
		nc, js, err := p.Connect(cfg.At(cfg.NATSConfig))
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", cfg.DevicesUser, err)
		}
		connections, deps.DevicesJS = append(connections, nc), js
	}
	nc, js, err := p.Connect(cfg.NATSConfig)
	if err != nil {
		return connections, err
	}
	deps.JS = js
	return append(connections, nc), nil
}
