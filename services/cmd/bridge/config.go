package main

import (
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/bridge"
	"headwater/services/internal/process"
	"headwater/streams"
)

type config struct {
	process.AdminConfig   `embed:""`
	process.NATSConfig    `embed:""`
	process.DevicesConfig `embed:""`
	Bridge                bridge.Config `embed:""`

	Devices0User     string `name:"devices0-user" default:"headwater-devices0"`
	Devices0Password string `name:"devices0-password-file" help:"File of its password." type:"existingfile"`
	AuthUser         string `help:"User of the account of the auth callout." default:"headwater-auth"`
	AuthPassword     string `name:"auth-password-file" help:"File that holds its password." type:"existingfile"`
	IssuerSeed       string `name:"issuer-seed-file" help:"File that holds the seed of the auth callout's issuer." type:"existingfile" required:""`

	SystemUser     string `help:"User of the system account that is notified of closed connections." default:"headwater-system"`
	SystemPassword string `name:"system-password-file" type:"existingfile"`

	Durability streams.Durability `help:"The same as for provision." enum:"power-safe,fast,replicated" default:"power-safe"`
	MaxBytes   int64              `name:"devices-max-bytes" help:"Bytes of the disk for the devices' stream; 0 means its share of 8 GiB." default:"0"`
}

// FlagHelp returns the help that is too long for a tag, by field.
func (config) FlagHelp() map[string]string {
	return map[string]string{
		"Devices0User": "User of the devices' account that receives messages with QoS 0; subjects that begin with $ or _INBOX must " +
			"be denied to it.",
		"SystemPassword": "File that holds its password; without it closed connections are not counted.",
	}
}

// connect fills deps. It returns the connections to close even with an error.
func (cfg config) connect(p *process.Process, deps *bridge.Deps) ([]*nats.Conn, error) {
	var connections []*nats.Conn
	for _, account := range []struct {
		user, password string
		use            func(*nats.Conn, jetstream.JetStream)
	}{
		{cfg.NATSUser, cfg.NATSPassword, func(_ *nats.Conn, js jetstream.JetStream) { deps.JS = js }},
		{cfg.DevicesUser, cfg.DevicesPassword, func(_ *nats.Conn, js jetstream.JetStream) { deps.Devices = js }},
		{cfg.Devices0User, cfg.Devices0Password, func(nc *nats.Conn, _ jetstream.JetStream) { deps.Devices0 = nc }},
		{cfg.AuthUser, cfg.AuthPassword, func(nc *nats.Conn, _ jetstream.JetStream) { deps.Auth = nc }},
		{cfg.SystemUser, cfg.SystemPassword, func(nc *nats.Conn, _ jetstream.JetStream) { deps.System = nc }},
	} {
		if account.user == cfg.SystemUser && account.password == "" {
			continue
		}
		nc, js, err := p.Connect(process.NATSConfig{NATS: cfg.NATS, NATSUser: account.user, NATSPassword: account.password, NATSCA: cfg.NATSCA})
		if err != nil {
			return connections, fmt.Errorf("user %s: %w", account.user, err)
		}
		connections = append(connections, nc)
		account.use(nc, js)
	}
	return connections, nil
}
